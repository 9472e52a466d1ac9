// Pages that are loaded when they are first opened, so that the first page is there soon.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Empty, Panel, Skeleton } from "./basics";

type Loaded = { value: unknown } | { failed: true };
const loaded = new Map<() => Promise<unknown>, Loaded>();

async function load(loader: () => Promise<unknown>): Promise<void> {
  try {
    loaded.set(loader, { value: await loader() });
  } catch {
    loaded.set(loader, { failed: true });
  }
}

/** Show what `loader` loads, with `children`. */
export function Later<T>({ loader, children }: { loader: () => Promise<T>; children: (module: T) => ComponentChildren }) {
  const [, render] = useState(0);
  const found = loaded.get(loader);
  useEffect(() => {
    if (!found || "failed" in found) void load(loader).then(() => render((value) => value + 1));
  }, [loader]);
  if (!found) return <Skeleton rows={6} />;
  if ("value" in found) return <>{children(found.value as T)}</>;
  return (
    <Panel title="Page">
      <Empty title="This page cannot be loaded">
        The server does not answer, or was updated since this tab was opened.
      </Empty>
      <button type="button" class="button" onClick={() => location.reload()}>
        Load it again
      </button>
    </Panel>
  );
}

/** Load pages that are not shown yet while the browser has nothing else to do. */
export function loadWhenIdle(...loaders: (() => Promise<unknown>)[]): void {
  const idle = window.requestIdleCallback ?? ((work: () => void) => window.setTimeout(work, 2000));
  const next = (at: number) => {
    const loader = loaders[at];
    if (loader) idle(() => void (loaded.has(loader) ? Promise.resolve() : load(loader)).then(() => next(at + 1)));
  };
  next(0);
}
