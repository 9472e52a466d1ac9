// What a person has chosen for this browser: colours, time zone, single keys.
import { effect, signal } from "@preact/signals";

function stored<T extends string>(name: string, values: readonly T[], otherwise: T) {
  let found: string | null = null;
  try {
    found = localStorage.getItem(`bmesos.${name}`);
  } catch {
    // A browser may forbid it: then the choice lasts as long as the page.
  }
  const value = signal<T>(values.includes(found as T) ? (found as T) : otherwise);
  effect(() => {
    try {
      localStorage.setItem(`bmesos.${name}`, value.value);
    } catch {
      // As above.
    }
  });
  return value;
}

export const theme = stored("theme", ["system", "light", "dark"] as const, "system");
export const zone = stored("zone", ["local", "utc"] as const, "local");
export const singleKeys = stored("keys", ["on", "off"] as const, "on");
/** Grows whenever colours change, so that canvases are painted again. */
export const painted = signal(0);

effect(() => {
  document.documentElement.style.colorScheme = theme.value === "system" ? "light dark" : theme.value;
  painted.value = painted.peek() + 1;
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (painted.value += 1));
