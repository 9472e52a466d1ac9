// All agents: a map and a table with the same filter, and what can be done with the chosen ones.
import { useMemo, useState } from "preact/hooks";
import { matcher, part, placesOfIds, silent, useAgents, type Agent } from "../data/agents";
import { count, duration } from "../data/format";
import { place, setQuery, url, go } from "../data/router";
import { AgentMap, COLOURS, MapLegend, type Colour } from "../parts/agentmap";
import { Empty, Failed, Meter, Missing, Panel, Segments, Skeleton, plural } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { State } from "../parts/icons";
import { VirtualTable, type Column } from "../parts/table";
import { activateAction, deactivateAction, drainAction, scheduleAction } from "./agent_actions";

/** The orders of the table; equal ones are in the order of their ids. */
const ORDER: Record<string, (a: Agent, b: Agent) => number> = {
  id: () => 0,
  state: (a, b) => (a.state < b.state ? -1 : a.state > b.state ? 1 : 0),
  cpus: (a, b) => part(a, "cpus") - part(b, "cpus"),
  mem: (a, b) => part(a, "mem") - part(b, "mem"),
  gpus: (a, b) => part(a, "gpus") - part(b, "gpus"),
  tasks: (a, b) => a.tasks - b.tasks,
  cell: (a, b) => a.cell - b.cell,
  heard: (a, b) => (b.heard ?? 0) - (a.heard ?? 0),
};

export function AgentsPage() {
  const store = useAgents();
  const query = place.value.query;
  const filter = query.get("filter") ?? "";
  const colour = (COLOURS.find(([each]) => each === query.get("color"))?.[0] ?? "share") as Colour;
  const group = query.get("group") ?? "";
  const sort = query.get("sort") ?? "id";
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const version = store.version.value;

  const { list, names, gpus } = useMemo(() => {
    const keys = new Map<string, number>();
    let withGpus = false;
    const matches = matcher(filter);
    const found: Agent[] = [];
    for (const agent of store.byId.values()) {
      for (const name in agent.attributes) keys.set(name, (keys.get(name) ?? 0) + 1);
      withGpus ||= !!agent.total["gpus"];
      if (matches(agent)) found.push(agent);
    }
    const descending = sort.startsWith("-");
    const order = ORDER[descending ? sort.slice(1) : sort] ?? ORDER["id"]!;
    const places = placesOfIds();
    const byId = (a: Agent, b: Agent) => places.get(a.id)! - places.get(b.id)!;
    found.sort((a, b) => (descending ? -order(a, b) || (sort === "-id" ? -byId(a, b) : byId(a, b)) : order(a, b) || byId(a, b)));
    return { list: found, names: [...keys.keys()].sort(), gpus: withGpus };
  }, [version, filter, sort]);

  const toggle = (agent: Agent) => {
    const next = new Set(chosen);
    if (!next.delete(agent.id)) next.add(agent.id);
    setChosen(next);
  };
  const columns: Column<Agent>[] = [
    {
      key: "choose",
      name: "",
      width: "40px",
      cell: (agent) => <input type="checkbox" tabIndex={-1} aria-label={`choose ${agent.id}`} checked={chosen.has(agent.id)} onChange={() => toggle(agent)} />,
    },
    { key: "id", name: "Agent", width: "minmax(150px,1.4fr)", sortable: true, cell: (agent) => <a class="id" tabIndex={-1} href={url("agents", agent.id)}>{agent.id}</a> },
    { key: "state", name: "State", width: "116px", sortable: true, cell: (agent) => <State state={agent.state} /> },
    { key: "cpus", name: "CPUs", width: "minmax(130px,1fr)", sortable: true, cell: (agent) => <Meter name="cpus" used={agent.used["cpus"] ?? 0} offered={agent.offered["cpus"] ?? 0} total={agent.total["cpus"] ?? 0} /> },
    { key: "mem", name: "Memory", width: "minmax(160px,1fr)", sortable: true, cell: (agent) => <Meter name="mem" used={agent.used["mem"] ?? 0} offered={agent.offered["mem"] ?? 0} total={agent.total["mem"] ?? 0} /> },
    ...(gpus ? [{ key: "gpus", name: "GPUs", width: "minmax(128px,0.7fr)", sortable: true, cell: (agent: Agent) => <Meter name="gpus" used={agent.used["gpus"] ?? 0} offered={agent.offered["gpus"] ?? 0} total={agent.total["gpus"] ?? 0} /> }] : []),
    { key: "tasks", name: "Tasks", width: "72px", sortable: true, number: true, cell: (agent) => count(agent.tasks) },
    { key: "cell", name: "Cell", width: "60px", sortable: true, number: true, cell: (agent) => agent.cell },
    ...(names[0] ? [{ key: "attribute", name: names[0], width: "minmax(70px,0.5fr)", cell: (agent: Agent) => agent.attributes[names[0]!] ?? "" }] : []),
    { key: "heard", name: "Last message", width: "128px", sortable: true, number: true, cell: (agent) => (agent.heard === null ? "–" : silent(agent) ? `${duration((performance.now() - agent.heard) / 1000)} ago` : <span class="muted">in time</span>) },
  ];
  const selected = [...chosen].map((id) => store.byId.get(id)).filter((each): each is Agent => !!each);
  const missing = new Set(store.missing.value.map((each) => each.cell));
  const loaded = version > 0;
  const groups = ["cell", ...names];
  const done = () => setChosen(new Set());
  return (
    <>
      <div class="head">
        <h1>Agents</h1>
        {loaded && !(store.error.value && !store.byId.size) && <span class="muted">{filter ? `${count(list.length)} of ${count(store.byId.size)} match` : plural(store.byId.size, "agent")}</span>}
      </div>
      <Missing cells={store.missing.value} />
      <div class="toolbar">
        <input
          class="field grow"
          style={{ maxWidth: "420px" }}
          data-filter
          type="search"
          aria-label="Filter agents"
          placeholder="Filter: rack:r07 state!=ready cell=2 or part of an id"
          value={filter}
          onInput={(event) => setQuery({ filter: event.currentTarget.value })}
        />
        <Segments label="Colour by" value={colour} options={COLOURS.filter(([each]) => each !== "gpus" || gpus)} set={(value) => setQuery({ color: value === "share" ? "" : value })} />
        <label class="check">
          Group by
          <select class="field" value={group} onChange={(event) => setQuery({ group: event.currentTarget.value })}>
            <option value="">nothing</option>
            {groups.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </div>
      {!loaded ? (
        <Panel title="Agents">
          <Skeleton rows={6} />
        </Panel>
      ) : store.error.value && !store.byId.size ? (
        <Panel title="Agents">
          <Failed error={store.error.value} />
        </Panel>
      ) : (
        <>
          {list.length > 0 && (
            <Panel title="Map" tools={<MapLegend colour={colour} />}>
              <AgentMap label="Agents that match" list={list} byId={store.byId} colour={colour} group={group} missing={missing} version={`${version} ${filter} ${sort}`} />
            </Panel>
          )}
          <Panel
            title={selected.length ? `${plural(selected.length, "agent")} chosen` : "Table"}
            flush
            tools={
              selected.length > 0 && (
                <div class="toolbar">
                  <ActionButton right="drain" danger onClick={() => confirm(drainAction(selected, done))}>Drain…</ActionButton>
                  <ActionButton right="drain" onClick={() => confirm(deactivateAction(selected, done))}>Deactivate…</ActionButton>
                  <ActionButton right="drain" onClick={() => confirm(activateAction(selected, done))}>Activate…</ActionButton>
                  <ActionButton right="drain" onClick={() => confirm(scheduleAction(selected, done))}>Schedule…</ActionButton>
                  <button type="button" class="button quiet" onClick={done}>
                    Choose none
                  </button>
                </div>
              )
            }
          >
            <VirtualTable
              label="Agents"
              rows={list}
              id={(agent) => agent.id}
              columns={columns}
              sort={sort}
              setSort={(value) => setQuery({ sort: value === "id" ? "" : value })}
              open={(agent) => go(url("agents", agent.id))}
              chosen={chosen}
              choose={toggle}
              minWidth={1000}
              empty={
                filter ? (
                  <Empty title="No agent matches">Words must all hold: an attribute as rack:r07, state=ready, cell=2, or part of an id.</Empty>
                ) : (
                  <Empty title="No agent is registered" command="bmesos agent">
                    An agent lends the resources of its machine. Start one on each machine:
                  </Empty>
                )
              }
            />
          </Panel>
        </>
      )}
    </>
  );
}
