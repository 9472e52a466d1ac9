// One job: how far it is, all of its tasks as squares, when they ran where, and why the others wait.
import { useMemo, useState } from "preact/hooks";
import type { Explanation, JobSpec, JobSummary, JobTask } from "../api";
import { about, amounts, bytes, count, duration, resources } from "../data/format";
import { useQuery } from "../data/query";
import { ApiError, ask } from "../data/request";
import { go, place, setQuery, url } from "../data/router";
import { useTopics } from "../data/stream";
import { Ago, Answer, Clock, Empty, Facts, Failed, Legend, Panel, Segments, Skeleton, Took, plural, useSeconds } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { HeatMap, type Square } from "../parts/heatmap";
import { State, kindOf } from "../parts/icons";
import { JobBar, asCommand, killJobAction, quoted, retryAsNewAction, submitAction } from "../parts/jobs";
import { Lanes, type Span } from "../parts/lanes";
import { VirtualTable, type Column } from "../parts/table";

interface Timeline {
  index: number[];
  attempt: number[];
  agents: string[];
  agent: number[];
  state: string[];
  claimed: (number | null)[];
  started: (number | null)[];
  ended: (number | null)[];
  total: number;
  /** Whether these are only some of the tasks, spread evenly over the array. */
  sampled: boolean;
}

/** When and where the tasks of a job ran, as columns; times in seconds since the epoch. */
async function timeline(id: string, signal: AbortSignal): Promise<Timeline> {
  const found = await ask("GET_TIMELINE", { job_id: id }, signal);
  const times = (column: (number | null)[]) => column.map((at) => (at === null ? null : found.since + at));
  return {
    ...found,
    state: found.state.map((at) => found.states[at]!),
    claimed: times(found.claimed),
    started: times(found.started),
    ended: times(found.ended),
    sampled: found.truncated,
  };
}

function sampledText(data: Timeline): string {
  return data.sampled ? `Sampled: ${count(data.index.length)} of ${count(data.total)} tasks, spread evenly over the array.` : "";
}

const COLOUR = { good: "good", busy: "busy", wait: "line-strong", warn: "warn", bad: "bad", away: "away", drain: "drain" } as const;

function squareColour(state: string): string {
  return state === "running" ? "busy" : COLOUR[kindOf(state)];
}

export function JobPage({ id }: { id: string }) {
  useTopics(`job:${id}`, "jobs");
  const query = place.value.query;
  const only = query.get("tasks") ?? "";
  const mine = (frame: { event: string; data: unknown }) => {
    const topic = frame.event === "delta" ? (frame.data as { topic: string }).topic : "";
    return topic === `job:${id}`;
  };
  const states = only ? [only] : [];
  const job = useQuery(`job ${id} ${only}`, (signal) => ask("GET_JOB", { job_id: id, limit: 500, states }, signal), { every: 2, everyLive: 10, on: mine });
  const lanes = useQuery(`timeline ${id}`, (signal) => timeline(id, signal), { every: job.data && job.data.summary.ended_at !== null ? 0 : 3, everyLive: 10, on: mine });
  const waits = job.data !== undefined && job.data.summary.ended_at === null && (job.data.summary.counts["pending"] ?? 0) > 0;
  const why = useQuery(waits ? `explain ${id}` : null, (signal) => ask("EXPLAIN", { id, limit: 50 }, signal), { every: 4 });
  return (
    <Answer query={job} rows={8} heading={id}>
      {({ summary, spec, tasks, more }) => (
        <>
          <div class="head">
            <h1>{summary.name || id}</h1>
            <State state={summary.state} loud={summary.state === "failed"} />
            <span class="muted">
              {id} {summary.user && `· ${summary.user} `}
              {summary.role !== "*" && `· role ${summary.role}`}
            </span>
            <div class="actions">
              <button type="button" class="button" onClick={() => void navigator.clipboard?.writeText(asCommand(spec))} title={asCommand(spec)}>
                Copy as command
              </button>
              <ActionButton right="submit" onClick={() => confirm(submitAction(asFields(spec)))}>Submit like this…</ActionButton>
              {summary.ended_at !== null && (
                <ActionButton right="submit" onClick={() => confirm(retryAsNewAction(id, spec))}>
                  Retry as new…
                </ActionButton>
              )}
              {summary.ended_at !== null && summary.state === "failed" && (
                <ActionButton
                  right="submit"
                  onClick={() =>
                    confirm({
                      title: `Run failed tasks of ${summary.name || id} again`,
                      verb: "Run again",
                      effect: [`Runs ${plural(summary.counts["failed"] ?? 0, "failed task")} again, each with one more attempt.`],
                      command: `bmesos retry ${id}`,
                      run: async () => `Job ${(await ask("RETRY_JOB", { job_id: id })).job_id} runs again.`,
                      done: job.refresh,
                    })
                  }
                >
                  Retry…
                </ActionButton>
              )}
              {summary.ended_at === null && <ActionButton right="kill" danger onClick={() => confirm(killJobAction(summary, job.refresh))}>Kill…</ActionButton>}
            </div>
          </div>
          <Progress summary={summary} />
          {waits && <Why why={why.data} error={why.error} waiting={summary.waiting} pending={summary.counts["pending"] ?? 0} />}
          {summary.reason && (
            <Panel title="Why it ended">
              <p>{summary.reason}</p>
            </Panel>
          )}
          <div class="grid">
            <Panel title={`Tasks: ${count(summary.total)}`} class="two" tools={<Legend entries={[["finished", "c-good"], ["running", "c-busy"], ["waiting", "c-wait"], ["failed", "c-bad"]]} />}>
              <Answer query={lanes}>{(data) => <Pixels id={id} data={data} />}</Answer>
            </Panel>
            <Panel title="What each task runs" class="third">
              <pre class="command" tabIndex={0} style={{ margin: "0 0 12px", whiteSpace: "pre-wrap", display: "block", maxHeight: "140px", overflow: "auto" }}>
                {spec.command.arguments.join(" ")}
              </pre>
              <Facts
                rows={[
                  ["Each task", resources(spec.resources ?? "")],
                  ...(spec.limits ? ([["Limits", resources(spec.limits)]] as [string, string][]) : []),
                  ...(spec.constraints?.length ? ([["Only on", spec.constraints.map(String).join(", ")]] as [string, string][]) : []),
                  ...(spec.max_running ? ([["At a time", `at most ${spec.max_running}`]] as [string, string][]) : []),
                  ...(spec.gang ? ([["Gang", "all tasks start together"]] as [string, string][]) : []),
                  ["Retries", String(spec.retries ?? 0)],
                  ["Submitted", <Clock at={summary.submitted_at} />],
                  ["Took", <Took from={summary.submitted_at} to={summary.ended_at} />],
                ]}
              />
            </Panel>
            <Panel title="When and where tasks ran" class="full">
              <Answer query={lanes}>{(data) => <Timed id={id} data={data} />}</Answer>
            </Panel>
            <Panel
              title="Tasks"
              class="full"
              flush
              tools={
                <Segments
                  label="State of tasks"
                  value={only}
                  options={[
                    ["", "All"],
                    ["pending", "Waiting"],
                    ["running", "Running"],
                    ["failed", "Failed"],
                    ["finished", "Finished"],
                  ]}
                  set={(value) => setQuery({ tasks: value })}
                />
              }
            >
              <TaskTable tasks={tasks} more={more !== null} />
            </Panel>
          </div>
        </>
      )}
    </Answer>
  );
}

function Progress({ summary }: { summary: JobSummary }) {
  const counts = summary.counts;
  return (
    <div style={{ display: "grid", gap: "6px" }}>
      <span style={{ display: "flex" }}>
        <JobBar job={summary} tall />
      </span>
      <span class="muted">
        {count(counts["finished"] ?? 0)} of {count(summary.total)} finished
        {counts["running"] ? ` · ${count(counts["running"])} running` : ""}
        {counts["pending"] ? ` · ${count(counts["pending"])} waiting` : ""}
        {counts["failed"] ? ` · ${count(counts["failed"])} failed` : ""}
        {counts["killed"] ? ` · ${count(counts["killed"])} killed` : ""}
        {summary.exit_code !== null ? ` · exit code ${summary.exit_code}` : ""}
      </span>
    </div>
  );
}

const OBSTACLES: Record<string, string> = {
  away: "away or not lending",
  constraint: "do not satisfy a constraint",
  drain: "drained or deactivated",
  filter: "refused by the framework for a while",
  gang: "no room for the whole gang",
  gpus: "have GPUs, which the framework does not accept",
  minimum: "less free than its smallest offer",
  offered: "in an open offer to another framework",
  quota: "stopped by a limit or guarantee of a role",
  reserved: "reserved for another role",
  resources: "resources in use",
  sits: "in an offer that it has not answered",
  "too-small": "smaller than the task",
  turn: "other frameworks are served first",
};

function Why({ why, error, waiting, pending }: { why: Explanation | undefined; error: ApiError | undefined; waiting: string; pending: number }) {
  const [open, setOpen] = useState(false);
  const counts = new Map<string, number>();
  const agents = (why?.placements ?? []).flat().flatMap((placement) => placement.agents);
  for (const placement of (why?.placements ?? []).flat()) for (const [what, number] of Object.entries(placement.counts)) counts.set(what, (counts.get(what) ?? 0) + number);
  const ordered = [...counts].sort((a, b) => b[1] - a[1]);
  return (
    <Panel title={`Why ${plural(pending, "task")} wait${pending === 1 ? "s" : ""}`} flush>
      <div class="why">
        {!why && !error && <Skeleton rows={2} />}
        {error && !why && <Failed error={error} />}
        {(why || waiting) && <p class="reason">{why?.reason || waiting}</p>}
        {why?.change && (
          <p>
            <span class="muted">What would let it run: </span>
            {why.change}
          </p>
        )}
        {ordered.length > 0 && (
          <ul class="chips">
            {ordered.map(([what, number]) => (
              <li key={what} class="chip">
                {count(number)} <b>{OBSTACLES[what] ?? what}</b>
              </li>
            ))}
          </ul>
        )}
        {agents.length > 0 && (
          <button type="button" class="button quiet" style={{ alignSelf: "flex-start", marginLeft: "-8px" }} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Hide" : "Show"} the reason for each agent ({count(agents.length)}
            {(why?.placements ?? []).flat().some((placement) => placement.truncated) ? ", the nearest" : ""})
          </button>
        )}
      </div>
      {open && (
        <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls" style={{ maxHeight: "320px", overflow: "auto", borderTop: "1px solid var(--line)" }}>
          <table>
            <thead>
              <tr>
                <th>Agent</th>
                <th>Reason</th>
                <th>Short of</th>
                <th class="num">Ends in</th>
              </tr>
            </thead>
            <tbody>
              {agents.map((each) => (
                <tr key={`${each.agent_id} ${each.what}`}>
                  <td>
                    <a class="id" href={url("agents", each.agent_id)}>{each.agent_id}</a>
                  </td>
                  <td>{each.message}</td>
                  <td class="nowrap">{resources(each.missing) || <span class="muted">–</span>}</td>
                  <td class="num nowrap">{each.seconds === null ? <span class="muted">–</span> : duration(each.seconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function taskId(id: string, data: Timeline, at: number): string {
  return `${id}.${data.index[at]}`;
}

function Pixels({ id, data }: { id: string; data: Timeline }) {
  const squares: Square[] = data.index.map((_, at) => ({
    id: String(at),
    colour: squareColour(data.state[at]!),
    hollow: data.state[at] === "pending" || data.state[at] === "staging",
  }));
  const shown = data.index.length;
  return (
    <>
      <HeatMap
        label="Tasks of the job"
        groups={[{ name: "", squares }]}
        version={squares.map((square) => square.colour[0]! + (square.hollow ? "h" : "")).join("")}
        size={shown > 2000 ? 7 : shown > 400 ? 10 : shown > 40 ? 14 : 20}
        max={360}
        card={(key) => {
          const at = Number(key);
          return (
            <>
              <strong>
                {id}.{data.index[at]}
              </strong>
              <State state={data.state[at] ?? ""} />
              <span class="muted">
                attempt {data.attempt[at]}
                {data.agent[at]! >= 0 && ` · ${data.agents[data.agent[at]!]}`}
              </span>
            </>
          );
        }}
        open={(key) => go(url("tasks", taskId(id, data, Number(key))))}
      />
      {data.sampled && <p class="muted">{sampledText(data)}</p>}
    </>
  );
}

interface TimedRow {
  id: string;
  agent: string;
  state: string;
  claimed: number | null;
  started: number | null;
  ended: number | null;
}

function Timed({ id, data }: { id: string; data: Timeline }) {
  const now = useSeconds();
  const [listed, setListed] = useState(false);
  const { rows, spans } = useMemo(() => {
    const rows: TimedRow[] = data.index
      .map((_, at) => ({
        id: taskId(id, data, at),
        agent: data.agents[data.agent[at]!] ?? "",
        state: data.state[at]!,
        claimed: data.claimed[at]!,
        started: data.started[at]!,
        ended: data.ended[at]!,
      }))
      .filter((row) => row.claimed !== null || row.started !== null)
      .sort((a, b) => (a.started ?? a.claimed)! - (b.started ?? b.claimed)!);
    const spans: Span[] = rows
      .filter((row) => row.started !== null)
      .map((row) => ({ id: row.id, lane: row.agent, state: row.state === "running" ? "staging" : row.state, from: row.started!, to: row.ended }));
    return { rows, spans };
  }, [id, data]);
  if (!rows.length) return <Empty title="No task has started yet">A lane for each agent appears here.</Empty>;
  const running = spans.some((span) => span.to === null);
  const from = spans.reduce((least, span) => Math.min(least, span.from), Infinity);
  const until = running ? now : spans.reduce((most, span) => Math.max(most, span.to!), -Infinity);
  const none = <span class="muted">–</span>;
  const columns: Column<TimedRow>[] = [
    { key: "id", name: "Task", width: "minmax(160px,1.2fr)", cell: (row) => <a class="id" tabIndex={-1} href={url("tasks", row.id)}>{row.id}</a> },
    { key: "agent", name: "Agent", width: "minmax(130px,1fr)", cell: (row) => (row.agent ? <a tabIndex={-1} href={url("agents", row.agent)}>{row.agent}</a> : none) },
    { key: "state", name: "State", width: "116px", cell: (row) => <State state={row.state} /> },
    { key: "claimed", name: "Staged", width: "96px", number: true, cell: (row) => (row.claimed === null ? none : <Clock at={row.claimed} />) },
    { key: "started", name: "Started", width: "96px", number: true, cell: (row) => (row.started === null ? none : <Clock at={row.started} />) },
    { key: "ended", name: "Ended", width: "96px", number: true, cell: (row) => (row.ended === null ? none : <Clock at={row.ended} />) },
    { key: "took", name: "Took", width: "80px", number: true, cell: (row) => <Took from={row.started} to={row.ended} /> },
  ];
  return (
    <>
      {spans.length > 0 && <Lanes label="Tasks by agent" named spans={spans} from={from} until={Math.max(until, from + 1)} />}
      {data.sampled && <p class="muted">{sampledText(data)}</p>}
      <button type="button" class="button quiet" style={{ marginLeft: "-8px" }} aria-expanded={listed} onClick={() => setListed(!listed)}>
        {listed ? "Hide the table" : "Show as a table"}
      </button>
      {listed && <VirtualTable label="When and where tasks ran" rows={rows} id={(row) => row.id} columns={columns} minWidth={860} height="420px" open={(row) => go(url("tasks", row.id))} empty={<Empty title="No task has started yet" />} />}
    </>
  );
}

function TaskTable({ tasks, more }: { tasks: JobTask[]; more: boolean }) {
  const columns: Column<JobTask>[] = [
    { key: "id", name: "Task", width: "minmax(180px,1.2fr)", cell: (task) => (task.task_id ? <a class="id" tabIndex={-1} href={url("tasks", task.task_id)}>{task.task_id}</a> : <span class="muted">index {task.index}</span>) },
    { key: "state", name: "State", width: "116px", cell: (task) => <State state={task.state} /> },
    { key: "exit", name: "Exit", width: "60px", number: true, cell: (task) => task.exit_code ?? (task.signal ? `sig ${task.signal}` : <span class="muted">–</span>) },
    { key: "attempt", name: "Attempt", width: "72px", number: true, cell: (task) => task.attempt },
    { key: "agent", name: "Agent", width: "minmax(130px,1fr)", cell: (task) => (task.agent_id ? <a tabIndex={-1} href={url("agents", task.agent_id)}>{task.agent_id}</a> : <span class="muted">–</span>) },
    { key: "took", name: "Took", width: "80px", number: true, cell: (task) => <Took from={task.started_at} to={task.ended_at} /> },
    { key: "memory", name: "Peak memory", width: "104px", number: true, cell: (task) => (task.memory_peak ? about(task) + bytes(task.memory_peak) : <span class="muted">–</span>) },
    { key: "message", name: "Message", width: "minmax(160px,1.6fr)", cell: (task) => <span title={task.message}>{task.message}</span> },
    { key: "ended", name: "Ended", width: "100px", number: true, cell: (task) => (task.ended_at ? <Ago at={task.ended_at} /> : <span class="muted">–</span>) },
  ];
  return (
    <>
      <VirtualTable label="Tasks" rows={tasks} id={(task) => String(task.index)} columns={columns} minWidth={980} open={(task) => task.task_id && go(url("tasks", task.task_id))} empty={<Empty title="No task in this state">Choose another state.</Empty>} />
      {more && <p class="empty">The first {count(tasks.length)} are listed; choose a state to see others.</p>}
    </>
  );
}

function asFields(spec: JobSpec): Record<string, string> {
  const each = amounts(spec.resources ?? "");
  return {
    command: spec.command.shell ? (spec.command.arguments[0] ?? "") : spec.command.arguments.map(quoted).join(" "),
    name: spec.name ?? "",
    cpus: String(each["cpus"] ?? 1),
    mem: String(each["mem"] ?? 256),
    gpus: each["gpus"] ? String(each["gpus"]) : "",
    count: spec.array ? String(spec.array[1] - spec.array[0] + 1) : "",
  };
}
