// Requests to the operator API, as `curl` sends them: POST /api/v1 with {"type": …}.
import { signal } from "@preact/signals";
import type { Requests } from "../api";

/** Who is signed in. `undefined`: not known yet; `null`: nobody, and the cluster demands it. */
export const signedOut = signal(false);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** Whether this server does not know the request: it is of an earlier release than this page expects. */
  get unknown(): boolean {
    return this.status === 400 && /is unknown; there are|is not for users/.test(this.message);
  }
}

type Fields<T extends keyof Requests> = Omit<Requests[T]["fields"], "type">;

/** Requests that change something. */
const CHANGES = /^(?!GET_|LIST_|READ_|EXPLAIN|PLAN_|SEARCH|WHO_AM_I)/;
/** How old an answer may be that the server has for another viewer already, in seconds. */
const SHARED = 1;
/** After a change by this page, answers are to be newer than it for this long, in milliseconds. */
const AFTER_CHANGE = 3000;
let changed = -Infinity;

/** Requests that the server does not know: it is not asked again. */
const unknownTypes = new Map<string, ApiError>();

/** The answer to a request. Throws an ApiError, whose message is one line for people. */
export async function ask<T extends keyof Requests>(
  type: T,
  fields: Fields<T>,
  signal?: AbortSignal,
  /** How long the cluster has for an answer, in seconds. */
  timeout?: number,
): Promise<Requests[T]["answer"]> {
  const known = unknownTypes.get(type);
  if (known) throw known;
  const changes = CHANGES.test(type);
  const shared = !changes && performance.now() - changed > AFTER_CHANGE;
  try {
    const answer = await call("/api/v1", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(shared ? { "Cache-Control": `max-age=${SHARED}` } : {}), ...(timeout ? { "Bmesos-Timeout": String(timeout) } : {}) },
      body: JSON.stringify({ type, ...fields }),
      signal: signal ?? null,
    });
    return (answer as { data: Requests[T]["answer"] }).data;
  } catch (error) {
    if (error instanceof ApiError && error.unknown) unknownTypes.set(type, error);
    throw error;
  } finally {
    if (changes) changed = performance.now();
  }
}

export async function call(path: string, init: RequestInit = {}): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "offline", "the server does not answer: is `bmesos web` running, and can this machine reach it?");
  }
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    body = null;
  }
  if (response.ok) return body;
  const error = (body as { error?: { code?: string; message?: string } } | null)?.error;
  if (response.status === 401) signedOut.value = true;
  throw new ApiError(
    response.status,
    error?.code ?? "failed",
    error?.message ?? `the server answered ${response.status} ${response.statusText}`,
  );
}
