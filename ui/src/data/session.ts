// Who uses this page, and what they may do: buttons they may not use are disabled, with the reason.
import { signal } from "@preact/signals";
import { ask, call, signedOut } from "./request";

interface Who {
  name: string;
  actions: string[];
  checked: boolean;
  may?: Record<string, string>;
}

export const who = signal<Who | null>(null);

export async function findOut(): Promise<void> {
  try {
    who.value = (await ask("WHO_AM_I", {})) as Who;
    signedOut.value = false;
  } catch {
    // Without an answer the pages say why themselves; signedOut is set if that is the reason.
  }
}

/** Why this person may not do something; empty if they may. */
export function may(right: string): string {
  const person = who.value;
  if (!person || !person.checked) return "";
  if (person.may && right in person.may) return person.may[right]!;
  const given = person.actions;
  const has = right === "kill" ? given.includes("kill:own") || given.includes("kill:any") : given.includes(right);
  return has ? "" : `${person.name} has no right to ${right}: ask who keeps the policy file`;
}

export async function signIn(token: string): Promise<void> {
  await call("/api/v1/session", {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: "{}",
  });
  await findOut();
}

export async function signOut(): Promise<void> {
  await call("/api/v1/session", { method: "DELETE" }).catch(() => undefined);
  who.value = null;
  signedOut.value = true;
}
