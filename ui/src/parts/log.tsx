// The output of a task: only the lines in view are in the document. It begins at the end, and follows it.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { bytes, count } from "../data/format";
import { TaskLog } from "../data/log";
import { pieces, plain } from "./ansi";
import { Empty, Failed, Skeleton } from "./basics";

const LINE = 18;
/** While lines are wrapped their heights differ, so that only this many are in the document. */
const WRAPPED = 1000;

export function LogView({ task, name }: { task: string; name: "stdout" | "stderr" }) {
  const [, render] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const [follow, setFollow] = useState(true);
  const [wrap, setWrap] = useState(false);
  const [find, setFind] = useState("");
  const [at, setAt] = useState(0);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(500);
  const log = useRef<TaskLog | null>(null);
  useEffect(() => {
    let asked = 0;
    const source = new TaskLog(task, name, () => {
      // At most one painting for each frame, however fast the output is.
      asked ||= requestAnimationFrame(() => {
        asked = 0;
        render((value) => value + 1);
      });
    });
    log.current = source;
    render((value) => value + 1);
    return () => {
      source.stop();
      cancelAnimationFrame(asked);
    };
  }, [task, name]);
  const source = log.current;
  const lines = source?.shown ?? [];
  const needle = find.toLowerCase();
  const hits = useMemo(() => {
    if (!needle) return [];
    const found: number[] = [];
    lines.forEach((line, index) => plain(line).toLowerCase().includes(needle) && found.push(index));
    return found;
  }, [needle, lines.length, source?.size]);
  const goTo = (line: number) => {
    setFollow(false);
    box.current!.scrollTop = Math.max(0, line * LINE - height / 2);
  };
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, [source?.loaded]);
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  const first = wrap ? Math.max(0, lines.length - WRAPPED) : Math.max(0, Math.floor(top / LINE) - 20);
  const last = wrap ? lines.length : Math.min(lines.length, Math.ceil((top + height) / LINE) + 20);
  return (
    <>
      <div class="toolbar" style={{ padding: "8px 16px", borderBottom: "1px solid var(--line)" }}>
        <label class="check">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} /> Follow
        </label>
        <label class="check">
          <input type="checkbox" checked={wrap} onChange={(event) => setWrap(event.currentTarget.checked)} /> Wrap
        </label>
        <input
          class="field"
          data-filter
          type="search"
          aria-label="Find in the output"
          placeholder="Find"
          value={find}
          onInput={(event) => {
            setFind(event.currentTarget.value);
            setAt(0);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !hits.length) return;
            event.preventDefault();
            const next = (at + (event.shiftKey ? hits.length - 1 : 1)) % hits.length;
            setAt(next);
            goTo(hits[next]!);
          }}
        />
        {needle && <span class="muted" role="status">{hits.length ? `${count(hits.length)} lines, Enter for the next` : "not found"}</span>}
        <span class="muted" style={{ marginLeft: "auto" }}>
          {source?.loaded && `${bytes(source.size)}${source.ended ? ", ended" : ""}`}
        </span>
      </div>
      {source?.error && <Failed error={source.error} />}
      {!source?.loaded ? (
        <Skeleton rows={8} />
      ) : (
        <div
          ref={box}
          class={`log${wrap ? " wrap" : ""}`}
          role="log"
          aria-live="off"
          aria-label={`${name} of ${task}`}
          tabIndex={0}
          onScroll={(event) => {
            const element = event.currentTarget;
            setTop(element.scrollTop);
            const bottom = element.scrollHeight - element.scrollTop - element.clientHeight < 4;
            if (bottom !== follow) setFollow(bottom);
          }}
        >
          {lines.length === 0 && !source.error && <Empty title={source.ended ? `Nothing was written to ${name}` : `Nothing on ${name} yet`}>{source.ended ? "" : "What the task writes appears here at once."}</Empty>}
          {source.skipped > 0 && first === 0 && !wrap && <span class="hidden">{bytes(source.skipped)} before this are not shown</span>}
          {!wrap && <div style={{ height: `${lines.length * LINE}px` }} />}
          <div class="lines" style={wrap ? {} : { transform: `translateY(${first * LINE}px)` }}>
            {lines.slice(first, last).map((line, offset) => (
              <div key={first + offset} class="l">
                {pieces(line).map((piece, index) => (
                  <Marked key={index} text={piece.text} class={piece.class} needle={needle} />
                ))}
              </div>
            ))}
          </div>
        </div>
      )}
      {source && source.skipped > 0 && (
        <p class="muted" style={{ padding: "8px 16px" }}>
          This is the end of the output; {bytes(source.skipped)} before it are not loaded. All of it: <code class="command">bmesos logs {task}{name === "stderr" ? " --stderr" : ""}</code>
        </p>
      )}
    </>
  );
}

function Marked({ text, class: className, needle }: { text: string; class: string; needle: string }) {
  const at = needle ? text.toLowerCase().indexOf(needle) : -1;
  if (at < 0) return className ? <span class={className}>{text}</span> : <>{text}</>;
  return (
    <span class={className}>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + needle.length)}</mark>
      <Marked text={text.slice(at + needle.length)} class="" needle={needle} />
    </span>
  );
}
