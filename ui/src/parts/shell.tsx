// What is around every page: the rail, the header with search, whether the data is fresh, and the switches.
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { duration } from "../data/format";
import { theme, zone } from "../data/prefs";
import { lastAnswer, unreachable } from "../data/query";
import { parts } from "../data/router";
import { signOut, who } from "../data/session";
import { live, onFrame, useTopics } from "../data/stream";
import { Notice, Icon, Logo } from "./icons";
import { Dialogs } from "./dialog";
import { Help, helpOpen, startKeys } from "./keys";
import { Palette, paletteOpen } from "./palette";
import { useSeconds } from "./basics";

const PAGES = [
  ["", "Cluster", "cluster"],
  ["agents", "Agents", "agents"],
  ["jobs", "Jobs", "jobs"],
  ["roles", "Roles", "roles"],
  ["frameworks", "Frameworks", "frameworks"],
  ["masters", "Masters", "masters"],
  ["events", "Events", "events"],
] as const;

/** Age of the data from which on the header says so, in seconds. Every page has the numbers of the cluster in its stream,
 * which come every 2 s while masters answer. */
const OLD = 7;

function Fresh() {
  useSeconds();
  useTopics("overview");
  useEffect(() => onFrame(() => void (lastAnswer.value = performance.now())), []);
  const age = (performance.now() - lastAnswer.value) / 1000;
  const old = unreachable.value || age > OLD;
  return (
    <span class={`pulse${old ? " old" : ""}`} role="status" title={live.value ? "changes arrive by themselves" : "this page asks every few seconds"}>
      <i />
      {old ? `last update ${duration(age)} ago` : live.value ? "live" : "every 2 s"}
    </span>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  useEffect(startKeys, []);
  const here = parts.value[0] ?? "";
  const current = here === "tasks" ? "jobs" : here;
  const person = who.value;
  const dark = { system: "screen", light: "sun", dark: "moon" }[theme.value];
  const next = { system: "light", light: "dark", dark: "system" }[theme.value] as typeof theme.value;
  return (
    <div class={`shell${unreachable.value ? " stale" : ""}`}>
      <a class="skip" href="#main" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </a>
      <div class="rail">
        <a class="brand" href="/ui/">
          <Logo />
          <span>broker_mesos</span>
        </a>
        <nav aria-label="Pages">
          <ul>
            {PAGES.map(([path, name, icon]) => (
              <li key={path}>
                <a href={`/ui/${path}`} aria-current={current === path ? "page" : undefined}>
                  <Icon name={icon} />
                  {name}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="foot">{person?.checked ? person.name : ""}</div>
      </div>
      <div>
        <header class="top">
          <button type="button" class="find" onClick={() => (paletteOpen.value = true)}>
            <Icon name="search" size={14} />
            <span class="cut">Search ids and pages</span>
            <kbd>{/Mac/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</kbd>
          </button>
          <Fresh />
          <button type="button" class="button quiet optional" title="time zone of all times" onClick={() => (zone.value = zone.value === "utc" ? "local" : "utc")}>
            {zone.value === "utc" ? "UTC" : "Local time"}
          </button>
          <button type="button" class="button quiet icon" aria-label={`Colours: ${theme.value}. Switch to ${next}`} title={`Colours: ${theme.value}`} onClick={() => (theme.value = next)}>
            <Icon name={dark} />
          </button>
          <button type="button" class="button quiet icon optional" aria-label="Keys" title="Keys (?)" onClick={() => (helpOpen.value = true)}>
            ?
          </button>
          {person?.checked && (
            <button type="button" class="button quiet icon" aria-label={`Sign out ${person.name}`} title={`Sign out ${person.name}`} onClick={() => void signOut()}>
              <Icon name="out" />
            </button>
          )}
        </header>
        <main id="main" tabIndex={-1}>
          {unreachable.value && <Notice bad>The server does not answer. What is shown is from before; it is asked again until it answers.</Notice>}
          {children}
        </main>
      </div>
      <Dialogs />
      <Palette />
      <Help />
    </div>
  );
}
