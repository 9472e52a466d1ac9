// One job: how far it is, all of its tasks as squares, when they ran where, and why the others wait.
import { useState } from "preact/hooks";
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
import { JobBar, killJobAction, submitAction } from "../parts/jobs";
import { Lanes, type Span } from "../parts/lanes";
import { VirtualTable, type Column } from "../parts/table";

interface Timeline {
  index: number[];
  attempt: number[];
  agents: string[];
  agent: number[];
  state: string[];
  started: (number | null)[];
  ended: (number | null)[];
  total: number;
}

const MAX_TASKS = 1000;

/** The first tasks of a job, as columns. */
async function timeline(id: string, signal: AbortSignal): Promise<Timeline> {
  const { tasks, summary } = await ask("GET_JOB", { job_id: id, limit: MAX_TASKS }, signal);
  const agents = [...new Set(tasks.map((task) => task.agent_id))];
  return {
    index: tasks.map((task) => task.index),
    attempt: tasks.map((task) => task.attempt),
    agents,
    agent: tasks.map((task) => (task.agent_id ? agents.indexOf(task.agent_id) : -1)),
    state: tasks.map((task) => task.state),
    started: tasks.map((task) => task.started_at),
    ended: tasks.map((task) => task.ended_at),
    total: summary.total,
  };
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
    <Answer query={job} rows={8}>
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
      {shown < data.total && (
        <p class="muted">
          The first {count(shown)} of {count(data.total)} tasks.
        </p>
      )}
    </>
  );
}

function Timed({ id, data }: { id: string; data: Timeline }) {
  const now = useSeconds();
  const spans: Span[] = [];
  data.index.forEach((_, at) => {
    if (data.started[at]) spans.push({ id: taskId(id, data, at), lane: data.agents[data.agent[at]!] ?? "", state: data.state[at] === "running" ? "staging" : data.state[at]!, from: data.started[at]!, to: data.ended[at] ?? null });
  });
  if (!spans.length) return <Empty title="No task has started yet">A lane for each agent appears here.</Empty>;
  const running = spans.some((span) => span.to === null);
  const from = Math.min(...spans.map((span) => span.from));
  const until = running ? now : Math.max(...spans.map((span) => span.to!));
  return <Lanes label="Tasks by agent" named spans={spans} from={from} until={Math.max(until, from + 1)} />;
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

function quoted(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
}

/** The job as a command that submits another one like it. */
function asCommand(spec: JobSpec): string {
  const words = ["bmesos", "submit"];
  if (spec.name) words.push("--name", quoted(spec.name));
  for (const [name, value] of Object.entries(amounts(spec.resources ?? ""))) if (name === "cpus" || name === "mem" || name === "gpus" || name === "disk") words.push(`--${name}`, String(value));
  if (spec.array) words.push("--array", `${spec.array[0]}-${spec.array[1]}`);
  if (spec.retries) words.push("--retries", String(spec.retries));
  if (spec.role && spec.role !== "*") words.push("--role", quoted(spec.role));
  if (spec.priority) words.push("--priority", String(spec.priority));
  if (spec.gang) words.push("--gang");
  for (const each of spec.constraints ?? []) words.push("--constraint", quoted(String(each)));
  words.push("--");
  if (spec.command.shell) words.push("sh", "-c", quoted(spec.command.arguments[0] ?? ""));
  else words.push(...spec.command.arguments.map(quoted));
  return words.join(" ");
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
