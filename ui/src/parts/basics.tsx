// Small parts of every page: panels, bars, times, and the states in which a view has nothing to show.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { amount, clock, count, duration, exact, type Amounts } from "../data/format";
import type { Query } from "../data/query";
import { ApiError } from "../data/request";
import { Icon } from "./icons";

export function Panel(props: { title: string; tools?: ComponentChildren; class?: string; flush?: boolean; children: ComponentChildren }) {
  return (
    <section class={`panel ${props.class ?? ""}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {props.tools}
      </header>
      <div class={props.flush ? "flush" : "body"}>{props.children}</div>
    </section>
  );
}

export function Empty({ title, children, command }: { title: string; children?: ComponentChildren; command?: string }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children && <span>{children}</span>}
      {command && <code tabIndex={0}>{command}</code>}
    </div>
  );
}

export function Skeleton({ rows = 4 }: { rows?: number }) {
  return (
    <div class="skeleton" role="status" aria-label="loading">
      {Array.from({ length: rows }, (_, index) => (
        <i key={index} style={{ width: `${[92, 70, 84, 58][index % 4]}%` }} />
      ))}
    </div>
  );
}

/** What is shown in place of an answer that failed, with what to do next. */
export function Failed({ error, refresh }: { error: ApiError; refresh?: () => void }) {
  const [title, hint, command] =
    error.status === 403 || error.code === "denied"
      ? ["You may not see this", error.message, "bmesos whoami"]
      : error.unknown
        ? ["This server does not answer that yet", "It is of an earlier release than this page: update `bmesos web` and the masters.", "bmesos version"]
        : error.code === "not_found"
          ? ["It does not exist", error.message, ""]
          : error.code === "offline"
            ? ["The server does not answer", error.message, "bmesos doctor"]
            : ["That failed", error.message, "bmesos doctor"];
  return (
    <div class="empty" role="alert">
      <strong>{title}</strong>
      <span>{hint}</span>
      {command && <code tabIndex={0}>{command}</code>}
      {refresh && (
        <button type="button" class="button" onClick={refresh}>
          Try again
        </button>
      )}
    </div>
  );
}

/** An answer, or what is shown while there is none; below `heading` if the answer has the heading of the page. */
export function Answer<T>({ query, rows, heading, children }: { query: Query<T> & { refresh?: () => void }; rows?: number; heading?: string; children: (data: T) => ComponentChildren }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  const none = query.error ? <Failed error={query.error} {...(query.refresh ? { refresh: query.refresh } : {})} /> : <Skeleton {...(rows === undefined ? {} : { rows })} />;
  if (!heading) return none;
  return (
    <>
      <div class="head">
        <h1>{heading}</h1>
      </div>
      <section class="panel" aria-label={heading}>
        {none}
      </section>
    </>
  );
}

/** Which cells are missing from an answer, in words. */
export function Missing({ cells }: { cells: readonly { cell: number; reason: string }[] | undefined }) {
  if (!cells?.length) return null;
  const names = cells.map((each) => each.cell).join(", ");
  return (
    <div class="notice" role="status">
      <Icon name="warning" />
      <span>
        {cells.length === 1 ? `Cell ${names} did not answer` : `Cells ${names} did not answer`}: what they own is missing or old here. {cells[0]!.reason}
      </span>
    </div>
  );
}

const tickers = new Set<() => void>();
let ticking = 0;

/** Render again every second, together with all others that do. */
export function useSeconds(): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const tick = () => set(Date.now());
    tickers.add(tick);
    if (!ticking) ticking = window.setInterval(() => document.hidden || tickers.forEach((each) => each()), 1000);
    return () => {
      tickers.delete(tick);
      if (!tickers.size) {
        window.clearInterval(ticking);
        ticking = 0;
      }
    };
  }, []);
  return now / 1000;
}

export function Ago({ at }: { at: number | null | undefined }) {
  const now = useSeconds();
  if (!at) return <span class="muted">–</span>;
  return <time dateTime={new Date(at * 1000).toISOString()} title={exact(at)}>{`${duration(now - at)} ago`}</time>;
}

export function Clock({ at }: { at: number }) {
  return <time dateTime={new Date(at * 1000).toISOString()} title={exact(at)}>{clock(at)}</time>;
}

/** From `from` until `to`, or until now. */
export function Took({ from, to }: { from: number | null | undefined; to: number | null | undefined }) {
  const now = useSeconds();
  if (!from) return <span class="muted">–</span>;
  return <>{duration((to ?? now) - from)}</>;
}

export interface Share {
  name: string;
  value: number;
  class: string;
}

export function Bar({ parts, total, label, tall = false, marks = [] }: { parts: Share[]; total: number; label: string; tall?: boolean; marks?: { at: number; title: string }[] }) {
  const whole = Math.max(total, parts.reduce((sum, part) => sum + part.value, 0), 1e-9);
  return (
    <span class={`bar${tall ? " tall" : ""}`} role="img" aria-label={label} title={label}>
      {parts.map((part) => part.value > 0 && <i key={part.name} class={part.class} style={{ width: `${(part.value / whole) * 100}%` }} />)}
      {marks.map((mark) => (
        <i key={mark.title} class="mark" title={mark.title} style={{ left: `calc(${Math.min(100, (mark.at / whole) * 100)}% - 1px)` }} />
      ))}
    </span>
  );
}

export function Meter({ name, used, total, offered = 0 }: { name: string; used: number; total: number; offered?: number }) {
  if (!total) return <span class="muted">–</span>;
  const text = `${amount(name, used)} of ${amount(name, total)} ${name}${offered ? `, ${amount(name, offered)} offered` : ""}`;
  return (
    <span class="meter">
      <Bar label={text} total={total} parts={[{ name: "used", value: used, class: "c-use" }, { name: "offered", value: offered, class: "c-offer" }]} />
      <span>
        {amount(name, used)}/{amount(name, total)}
      </span>
    </span>
  );
}

export function Legend({ entries }: { entries: [string, string][] }) {
  return (
    <div class="legend">
      {entries.map(([name, colour]) => (
        <span key={name}>
          <i class={colour} />
          {name}
        </span>
      ))}
    </div>
  );
}

export function Tile({ name, value, of, more, href, children }: { name: string; value: string; of?: string; more?: ComponentChildren; href?: string; children?: ComponentChildren }) {
  const inside = (
    <>
      <span class="name">{name}</span>
      <span class="value">
        {value}
        {of && <small> {of}</small>}
      </span>
      {children}
      <span class="more">{more}</span>
    </>
  );
  return href ? (
    <a class="tile" href={href}>
      {inside}
    </a>
  ) : (
    <div class="tile">{inside}</div>
  );
}

export function Segments<T extends string>({ label, value, options, set }: { label: string; value: T; options: readonly (readonly [T, string])[]; set: (value: T) => void }) {
  return (
    <span class="segments" role="group" aria-label={label}>
      {options.map(([each, name]) => (
        <button key={each} type="button" aria-pressed={each === value} onClick={() => set(each)}>
          {name}
        </button>
      ))}
    </span>
  );
}

export function sumOf(many: Iterable<Amounts>): Amounts {
  const sum: Amounts = {};
  for (const each of many) for (const [name, value] of Object.entries(each)) sum[name] = (sum[name] ?? 0) + value;
  return sum;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name} style={{ display: "contents" }}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
