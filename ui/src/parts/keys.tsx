// Keys. None acts while typing, none destroys, and those of one letter can be switched off.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { singleKeys } from "../data/prefs";
import { go } from "../data/router";
import { paletteOpen } from "./palette";

export const helpOpen = signal(false);

const PAGES: Record<string, string> = { c: "", a: "agents", j: "jobs", r: "roles", f: "frameworks", m: "masters", e: "events" };
const LISTED: [string, string][] = [
  ["/", "filter this page"],
  ["Ctrl K, ⌘K", "search"],
  ["g then c a j r f m e", "go to cluster, agents, jobs, roles, frameworks, masters, events"],
  ["j k or arrows", "next and previous row"],
  ["x or Space", "choose a row"],
  ["Enter", "open a row"],
  ["[ and ]", "shorter and longer span of time"],
  ["Esc", "close, or back"],
  ["?", "this list"],
];

export function startKeys(): () => void {
  let prefix = 0;
  const onKey = (event: KeyboardEvent) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      paletteOpen.value = true;
      return;
    }
    const target = event.target as HTMLElement;
    const typing = target.closest("input, textarea, select, [contenteditable]") !== null;
    if (event.key === "Escape" && typing) return target.blur();
    if (typing || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (history.length > 1) history.back();
      return;
    }
    if (singleKeys.value !== "on") return;
    if (prefix && performance.now() - prefix < 1500 && event.key in PAGES) {
      prefix = 0;
      event.preventDefault();
      go(`/ui/${PAGES[event.key]}`);
      return;
    }
    prefix = 0;
    if (event.key === "g") prefix = performance.now();
    else if (event.key === "?") helpOpen.value = true;
    else if (event.key === "/") {
      const filter = document.querySelector<HTMLInputElement>("[data-filter]");
      if (!filter) return;
      event.preventDefault();
      filter.focus();
      filter.select();
    } else if (event.key === "j" || event.key === "k") {
      const rows = document.querySelector<HTMLElement>("[data-rows]");
      if (!rows || rows === document.activeElement) return;
      event.preventDefault();
      rows.focus();
    } else if (event.key === "[" || event.key === "]") {
      const spans = [...document.querySelectorAll<HTMLButtonElement>("[aria-label='Span of time'] button")];
      const at = spans.findIndex((each) => each.getAttribute("aria-pressed") === "true");
      spans[at + (event.key === "]" ? 1 : -1)]?.click();
    }
  };
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}

export function Help() {
  return helpOpen.value ? <Listed /> : null;
}

function Listed() {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => element.current!.showModal(), []);
  return (
    <dialog ref={element} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <div class="inside">
        <h2 id="help-title">Keys</h2>
        <dl class="facts">
          {LISTED.map(([key, text]) => (
            <div key={key} style={{ display: "contents" }}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
        <label class="check">
          <input type="checkbox" checked={singleKeys.value === "on"} onChange={(event) => (singleKeys.value = event.currentTarget.checked ? "on" : "off")} />
          Keys of one letter act
        </label>
        <div class="buttons">
          <button type="button" class="button" onClick={() => element.current!.close()}>
            Close
          </button>
        </div>
      </div>
    </dialog>
  );
}
