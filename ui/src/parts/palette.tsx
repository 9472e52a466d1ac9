// Search: ids of everything by their beginning, and the pages.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, ask } from "../data/request";
import { go, url } from "../data/router";

export const paletteOpen = signal(false);

interface Found {
  kind: string;
  id: string;
  text: string;
}

const PAGES: Found[] = ["Cluster", "Agents", "Jobs", "Roles", "Frameworks", "Masters", "Events"].map((name) => ({ kind: "page", id: name, text: "page" }));

function target({ kind, id }: Found): string {
  if (kind === "page") return id === "Cluster" ? "/ui/" : url(id.toLowerCase());
  if (kind === "cell") return "/ui/masters";
  if (kind === "role") return `/ui/roles?role=${encodeURIComponent(id)}`;
  return url(`${kind}s`, id);
}

async function search(prefix: string): Promise<Found[]> {
  try {
    return (await ask("SEARCH", { prefix, limit: 20 })).found;
  } catch (error) {
    if (!(error instanceof ApiError && error.unknown)) throw error;
  }
  // Of a server without search: an id that is typed in full.
  const found: Found[] = [];
  const [job, agent] = await Promise.allSettled([
    ask("GET_JOB", { job_id: prefix, limit: 0 }),
    ask("GET_STATE", { parts: ["agents"], agent_id: prefix, limit: 1 }),
  ]);
  if (job.status === "fulfilled") found.push({ kind: "job", id: prefix, text: `${job.value.summary.state}, ${job.value.summary.name}` });
  if (agent.status === "fulfilled") for (const each of agent.value.agents) if (each.agent_id === prefix) found.push({ kind: "agent", id: prefix, text: each.state });
  return found;
}

export function Palette() {
  return paletteOpen.value ? <Open /> : null;
}

function Open() {
  const element = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const [found, setFound] = useState<Found[]>(PAGES);
  const [at, setAt] = useState(0);
  const [problem, setProblem] = useState("");
  useEffect(() => element.current!.showModal(), []);
  useEffect(() => {
    const prefix = text.trim();
    const pages = PAGES.filter((each) => each.id.toLowerCase().startsWith(prefix.toLowerCase()));
    setAt(0);
    setProblem("");
    setFound(pages);
    if (!prefix) return;
    let ended = false;
    const timer = window.setTimeout(() => {
      search(prefix).then(
        (more) => {
          if (ended) return;
          setFound([...more, ...pages]);
          setProblem(more.length || pages.length ? "" : `Nothing has an id that begins with ${prefix}.`);
        },
        (error: Error) => ended || setProblem(error.message),
      );
    }, 120);
    return () => {
      ended = true;
      window.clearTimeout(timer);
    };
  }, [text]);
  const open = (each: Found | undefined) => {
    if (!each) return;
    element.current!.close();
    go(target(each));
  };
  return (
    <dialog ref={element} class="palette" aria-label="Search" onClose={() => (paletteOpen.value = false)} onClick={(event) => event.target === element.current && element.current!.close()}>
      <div class="inside">
        <input
          role="combobox"
          aria-expanded="true"
          aria-controls="found"
          aria-activedescendant={found[at] ? `found-${at}` : undefined}
          aria-label="Search ids and pages"
          placeholder="Beginning of an id of an agent, job, task, framework or role"
          autofocus
          spellcheck={false}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown") setAt(Math.min(found.length - 1, at + 1));
            else if (event.key === "ArrowUp") setAt(Math.max(0, at - 1));
            else if (event.key === "Enter") open(found[at]);
            else return;
            event.preventDefault();
          }}
        />
        {problem && (
          <p class="empty" role="status">
            {problem}
          </p>
        )}
        <ul id="found" role="listbox" aria-label="Found">
          {found.map((each, index) => (
            <li key={`${each.kind} ${each.id}`} id={`found-${index}`} role="option" aria-selected={index === at} onPointerMove={() => setAt(index)} onClick={() => open(each)}>
              <span class="grow cut">{each.id}</span>
              <span class="muted cut">{each.kind === "page" ? "page" : `${each.kind} · ${each.text}`}</span>
            </li>
          ))}
        </ul>
      </div>
    </dialog>
  );
}
