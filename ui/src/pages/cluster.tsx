// The whole cluster at a glance: how full it is, what waits and for what, and what has happened.
import { placesOfIds, useAgents } from "../data/agents";
import { amount, count, percent, short } from "../data/format";
import { useEvents, useOverview, waitingTasks } from "../data/overview";
import { useQuery } from "../data/query";
import { AgentMap, MapLegend } from "../parts/agentmap";
import { Answer, Bar, Empty, Failed, Missing, Panel, Skeleton, Tile, plural, sumOf } from "../parts/basics";
import { EventRows } from "../parts/events";
import { State } from "../parts/icons";
import { NoOwner, unowned, useCluster } from "../parts/owners";
import { SharesPanel } from "../parts/shares";

export function ClusterPage() {
  const store = useAgents();
  const overview = useOverview();
  const cluster = useCluster();
  const counted = useQuery(overview.data === null ? "waiting" : null, waitingTasks, { every: 3 });
  const events = useEvents("", 8);
  const list = [...store.byId.values()];
  const places = placesOfIds();
  const ready = list.filter((each) => each.state === "ready").length;
  const lent = list.filter((each) => each.state !== "gone" && each.state !== "unreachable");
  const total = overview.data?.total ?? sumOf(lent.map((each) => each.total));
  const used = overview.data?.used ?? sumOf(lent.map((each) => each.used));
  const running = overview.data?.tasks["running"] ?? list.reduce((sum, each) => sum + each.tasks, 0);
  const waiting = overview.data?.waiting_tasks ?? counted.data?.tasks;
  const cells = cluster.data?.cells ?? [];
  const idle = unowned(cluster);
  const owned = cells.length - idle.length;
  const away = list.length - ready;
  const loaded = store.version.value > 0;
  const known = loaded && !(store.error.value && !list.length);
  const missing = new Set(store.missing.value.map((each) => each.cell));
  const wide = list.length > 400;
  const resourceTile = (name: string, title: string) => {
    const all = total[name] ?? 0;
    if (!all) return null;
    return (
      <Tile key={name} name={title} value={percent((used[name] ?? 0) / all)} of="used" more={`${amount(name, used[name] ?? 0)} of ${amount(name, all)}`}>
        <Bar label={`${title}: ${amount(name, used[name] ?? 0)} of ${amount(name, all)} used`} total={all} parts={[{ name: "used", value: used[name] ?? 0, class: "c-use" }]} />
      </Tile>
    );
  };
  return (
    <>
      <div class="head">
        <h1>{cluster.data ? `Cluster ${cluster.data.cluster}` : "Cluster"}</h1>
        {cells.length > 0 && (owned === cells.length ? <State state="ok" word="every cell has an owner" /> : <State state="failed" loud word={`cells without an owner: ${idle.join(", ")}`} />)}
      </div>
      <NoOwner query={cluster} />
      <Missing cells={store.missing.value} />
      {cluster.error && !cluster.data && <Failed error={cluster.error} refresh={cluster.refresh} />}
      <div class="tiles">
        <Tile name="Agents ready" value={known ? count(ready) : "–"} href="/ui/agents" more={known ? (away ? `of ${count(list.length)} · ${count(away)} are not` : `of ${count(list.length)}`) : ""} />
        <Tile name="Tasks running" value={known ? short(running) : "–"} href="/ui/jobs?state=running" more={overview.data?.tasks["staging"] ? `${count(overview.data.tasks["staging"])} staging` : ""} />
        <Tile name="Tasks waiting" value={waiting === undefined ? "–" : short(waiting)} href="/ui/jobs?state=pending" more={overview.data?.waiting[0] ? `${overview.data.waiting_jobs === null ? "" : `${plural(overview.data.waiting_jobs, "job")}; `}most: ${overview.data.waiting[0].group}` : waiting === 0 ? "nothing waits" : ""} />
        {resourceTile("cpus", "CPUs")}
        {resourceTile("mem", "Memory")}
        {resourceTile("gpus", "GPUs")}
        <Tile name="Cells with an owner" value={cluster.data ? `${owned}/${cells.length}` : "–"} href="/ui/masters" more={cluster.data ? plural(cluster.data.masters.length, "master") : ""} />
      </div>
      <div class="grid">
        <div class={`${wide ? "full" : "two"} column`}>
        <Panel title="Agents" tools={<MapLegend colour="share" />}>
          {!loaded && <Skeleton />}
          {loaded && store.error.value && !list.length && <Failed error={store.error.value} />}
          {loaded && !store.error.value && !list.length && (
            <Empty title="No agent is registered" command="bmesos agent">
              An agent lends the resources of its machine. Start one on each machine:
            </Empty>
          )}
          {list.length > 0 && <AgentMap label="All agents" list={list.sort((a, b) => a.cell - b.cell || places.get(a.id)! - places.get(b.id)!)} byId={store.byId} colour="share" group={list.length > 1 && cells.length > 1 ? "cell" : ""} missing={missing} version={store.version.value} />}
        </Panel>
        {!wide && <SharesPanel />}
        </div>
        {wide && <SharesPanel class="two" />}
        <Panel class="third" title="What tasks wait for">
          {overview.data ? (
            overview.data.waiting.length ? (
              <ul style={{ display: "grid", gap: "8px" }}>
                {overview.data.waiting.map((each) => (
                  <li key={each.group} class="meter">
                    <a class="cut" style={{ flex: "0 0 46%" }} href={each.jobs ? `/ui/jobs?waits=${encodeURIComponent(each.group)}` : "/ui/frameworks"} title={each.frameworks.join(", ")}>
                      {each.group}
                    </a>
                    <Bar label={`${count(each.tasks)} tasks`} total={overview.data!.waiting_tasks} parts={[{ name: each.group, value: each.tasks, class: "c-warn" }]} />
                    <span title={each.jobs ? `of ${plural(each.jobs, "job")}` : undefined}>{count(each.tasks)}</span>
                  </li>
                ))}
                {overview.data.waiting_truncated && <li class="muted">More wait than are counted here.</li>}
              </ul>
            ) : (
              <Empty title="Nothing waits">Every task that was submitted runs or has ended.</Empty>
            )
          ) : counted.data ? (
            counted.data.tasks ? (
              <Empty title={`${plural(counted.data.tasks, "task")} of ${plural(counted.data.jobs, "job")} wait`}>
                <a href="/ui/jobs?state=pending">Open a waiting job: it says why.</a>
              </Empty>
            ) : (
              <Empty title="Nothing waits">Every task that was submitted runs or has ended.</Empty>
            )
          ) : overview.error ? (
            <Failed error={overview.error} refresh={overview.refresh} />
          ) : (
            <Skeleton rows={3} />
          )}
        </Panel>
        <Panel class="full" title="Latest events" flush tools={<a class="button quiet" href="/ui/events">All events</a>}>
          <Answer query={events}>
            {({ events: found }) => (found.length ? <EventRows events={[...found].reverse()} /> : <Empty title="Nothing has happened yet">Events of agents, tasks, frameworks and cells appear here.</Empty>)}
          </Answer>
        </Panel>
      </div>
    </>
  );
}
