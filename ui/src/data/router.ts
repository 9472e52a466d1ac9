// Real URLs below /ui/ with the history API. Every filter and span of time is in the query string.
import { computed, signal } from "@preact/signals";

export interface Place {
  path: string;
  query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname.replace(/\/+$/, "") || "/ui", query: new URLSearchParams(location.search) };
}

export const place = signal<Place>(here());
/** The parts of the path behind /ui/, decoded. */
export const parts = computed(() =>
  place.value.path
    .replace(/^\/ui\/?/, "")
    .split("/")
    .filter(Boolean)
    .map(decoded),
);

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function go(url: string, { replace = false } = {}): void {
  const target = new URL(url, location.href);
  if (target.href === location.href) return;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  const moved = target.pathname !== place.value.path;
  place.value = here();
  if (moved) {
    window.scrollTo(0, 0);
    // Who reads by ear or keys is at the beginning of the new page.
    requestAnimationFrame(() => document.getElementById("main")?.focus({ preventScroll: true }));
  }
}

/** Set parameters of the query string; an empty value removes one. */
export function setQuery(values: Record<string, string>, replace = true): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), { replace });
}

export function url(...path: string[]): string {
  return `/ui/${path.map(encodeURIComponent).join("/")}`;
}

export function listen(): void {
  window.addEventListener("popstate", () => (place.value = here()));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (!link.pathname.startsWith("/ui")) return;
    event.preventDefault();
    go(link.href);
  });
}
