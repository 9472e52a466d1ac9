// One task: what has happened to it, its output while it is written, and the files of its sandbox.
import { useState } from "preact/hooks";
import type { JobTask, JobTaskDetails, TaskStep } from "../api";
import { about, bytes, duration, exact, resources } from "../data/format";
import { useQuery } from "../data/query";
import { ApiError, ask } from "../data/request";
import { place, setQuery, url } from "../data/router";
import { useTopics } from "../data/stream";
import { Ago, Answer, Clock, Empty, Facts, Panel, Segments, useSeconds } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { Icon, State, taskState } from "../parts/icons";
import { retryAsNewAction } from "../parts/jobs";
import { LogView } from "../parts/log";

type Task = JobTaskDetails & { framework?: string; role?: string; resources?: string };

/** A task of a job, or else of any other framework, as its cell knows it. */
async function find(id: string, signal: AbortSignal): Promise<Task> {
  try {
    return await ask("GET_TASK", { task_id: id, earlier: true }, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code === "denied" || error.code === "offline") throw error;
    const { tasks } = await ask("GET_STATE", { parts: ["tasks"], task_id: id, limit: 1 }, signal);
    const view = tasks[0];
    if (!view) throw error;
    const status = view.status;
    return {
      task_id: id,
      job_id: "",
      index: 0,
      attempt: 1,
      state: taskState(view.state),
      exit_code: status?.exit_code ?? null,
      signal: status?.signal ?? null,
      agent_id: view.agent_id,
      hostname: "",
      started_at: status?.started_at ?? null,
      ended_at: null,
      message: status?.message ?? "",
      cpu_seconds: status?.cpu_seconds ?? null,
      memory_peak: status?.memory_peak ?? null,
      io_read: status?.io_read ?? null,
      io_written: status?.io_written ?? null,
      measured_by: status?.measured_by ?? "",
      framework: view.framework_id,
      role: view.role,
      resources: view.resources,
      claimed_at: view.created_at || null,
      history: view.history,
      history_truncated: view.history_truncated,
      attempts: [],
      attempts_truncated: false,
      latest: "",
    };
  }
}

const ENDED = new Set(["finished", "failed", "killed", "lost", "error", "dropped", "gone"]);

export function TaskPage({ id }: { id: string }) {
  const job = id.split(".")[0]!;
  useTopics(`job:${job}`);
  const query = place.value.query;
  const tab = (query.get("tab") ?? "stdout") as "stdout" | "stderr" | "files";
  const task = useQuery(`task ${id}`, (signal) => find(id, signal), { every: 2, everyLive: 5, on: (frame) => frame.event === "delta" && (frame.data as { topic: string }).topic === `job:${job}` });
  return (
    <Answer query={task} rows={8} heading={id}>
      {(found) => (
        <>
          <div class="head">
            <h1>{found.task_id || id}</h1>
            <State state={found.state} loud={found.state === "failed"} />
            <span class="muted">
              {found.exit_code !== null && `exit code ${found.exit_code}`}
              {found.signal !== null && ` (signal ${found.signal})`}
              {found.message && ` · ${found.message}`}
            </span>
            <div class="actions">
              {found.job_id && (
                <a class="button" href={url("jobs", found.job_id)}>
                  Job {found.job_id}
                </a>
              )}
              {ENDED.has(found.state) && found.job_id && <RetryAsNew task={found} />}
              {!ENDED.has(found.state) && (
                <ActionButton
                  right="kill"
                  danger
                  onClick={() =>
                    confirm({
                      title: `Kill task ${found.task_id}`,
                      danger: true,
                      verb: "Kill",
                      effect: [`Kills 1 task${found.agent_id ? ` on ${found.agent_id}` : ""}. If its job has retries left, it may run again.`],
                      command: `bmesos kill ${found.task_id}`,
                      run: async () => {
                        const answer = await ask("KILL_BY_ID", { id: found.task_id });
                        return answer.note || `Task ${found.task_id} is being killed.`;
                      },
                      done: task.refresh,
                    })
                  }
                >
                  Kill…
                </ActionButton>
              )}
            </div>
          </div>
          <Panel title="What happened">
            <Steps task={found} />
            <Attempts task={found} />
          </Panel>
          <div class="grid">
            <Panel
              title="Output and files"
              class="two"
              flush
              tools={
                <Segments
                  label="What is shown"
                  value={tab}
                  options={[
                    ["stdout", "stdout"],
                    ["stderr", "stderr"],
                    ["files", "Files"],
                  ]}
                  set={(value) => setQuery({ tab: value === "stdout" ? "" : value, path: "" })}
                />
              }
            >
              {tab === "files" ? <Files task={found.task_id || id} /> : <LogView key={tab} task={found.task_id || id} name={tab} />}
            </Panel>
            <Panel title="Task" class="third">
              <Facts
                rows={[
                  ["Agent", found.agent_id ? <a href={url("agents", found.agent_id)}>{found.agent_id}</a> : "none yet"],
                  ...(found.hostname ? ([["Host", found.hostname]] as [string, string][]) : []),
                  ...(found.framework ? ([["Framework", <a href={url("frameworks", found.framework)}>{found.framework}</a>]] as [string, preact.ComponentChildren][]) : []),
                  ...(found.resources ? ([["Resources", resources(found.resources)]] as [string, string][]) : []),
                  ["Attempt", String(found.attempt)],
                  ["Index", String(found.index)],
                  ["Staged", <Ago at={found.claimed_at} />],
                  ["Started", <Ago at={found.started_at} />],
                  ["Ended", <Ago at={found.ended_at} />],
                  ["CPU time", found.cpu_seconds === null ? "–" : about(found) + duration(found.cpu_seconds)],
                  ["Peak memory", found.memory_peak === null ? "–" : about(found) + bytes(found.memory_peak)],
                ]}
              />
            </Panel>
          </div>
        </>
      )}
    </Answer>
  );
}

/** Submits the task again, as a job of its own. */
function RetryAsNew({ task }: { task: Task }) {
  const job = useQuery(`spec ${task.job_id}`, (signal) => ask("GET_JOB", { job_id: task.job_id, limit: 0 }, signal));
  const spec = job.data?.spec;
  if (!spec) return null;
  return (
    <ActionButton right="submit" onClick={() => confirm(retryAsNewAction(task.job_id, spec, task.index))}>
      Retry as new…
    </ActionButton>
  );
}

/** The attempts at the index of the task, each a link. */
function Attempts({ task }: { task: Task }) {
  if (!task.attempts.length) return null;
  const isShown = (each: { task_id: string }) => each.task_id === task.task_id;
  const latest: Pick<JobTask, "task_id" | "attempt" | "state" | "exit_code" | "message">[] = task.latest
    ? [{ task_id: task.latest, attempt: NaN, state: "", exit_code: null, message: "" }]
    : [task];
  return (
    <nav aria-label="Attempts" style={{ marginTop: "12px" }}>
      <ul class="chips">
        {task.attempts_truncated && <li class="muted">earlier ones are not kept</li>}
        {[...task.attempts, ...latest].map((each) => (
          <li key={each.task_id} class="chip" title={each.message}>
            <a href={url("tasks", each.task_id)} aria-current={isShown(each) ? "page" : undefined}>
              {Number.isNaN(each.attempt) ? "the latest" : isShown(each) ? <b>attempt {each.attempt}</b> : `attempt ${each.attempt}`}
            </a>
            {each.state && <State state={each.state} />}
            {each.exit_code !== null && `exit ${each.exit_code}`}
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Steps({ task }: { task: Task }) {
  const now = useSeconds();
  const steps: TaskStep[] = task.history;
  if (!steps.length)
    return (
      <Empty title="It has not started yet">
        {task.job_id ? <a href={url("jobs", task.job_id)}>Its job says what it waits for.</a> : "No status of it has come yet."}
      </Empty>
    );
  return (
    <>
      <ol class="steps">
        {steps.map((step, at) => (
          <li key={at} title={step.reason}>
            <State state={taskState(step.state)} />
            <span class="muted">
              {at + 1 < steps.length ? (
                <span title={exact(step.at)}>{duration(Math.max(0, steps[at + 1]!.at - step.at))}</span>
              ) : ENDED.has(taskState(step.state)) ? (
                <Clock at={step.at} />
              ) : (
                `for ${duration(Math.max(0, now - step.at))}`
              )}
            </span>
          </li>
        ))}
      </ol>
      {task.history_truncated && <p class="muted">Some states in between are not kept.</p>}
    </>
  );
}

function Files({ task }: { task: string }) {
  const path = place.value.query.get("path") ?? "";
  const [view, setView] = useState("");
  const list = useQuery(`files ${task} ${path}`, (signal) => ask("LIST_FILES", { task_id: task, path }, signal), { every: 5 });
  const inside = (name: string) => (path ? `${path}/${name}` : name);
  const parents = path.split("/").filter(Boolean);
  return (
    <>
      <nav class="toolbar" aria-label="Folder" style={{ padding: "8px 16px", borderBottom: "1px solid var(--line)" }}>
        <button type="button" class="button quiet" onClick={() => setQuery({ path: "" })}>
          sandbox
        </button>
        {parents.map((name, at) => (
          <button key={at} type="button" class="button quiet" onClick={() => setQuery({ path: parents.slice(0, at + 1).join("/") })}>
            / {name}
          </button>
        ))}
      </nav>
      <Answer query={list}>
        {({ files, truncated }) =>
          files.length === 0 ? (
            <Empty title="The folder is empty">What the task writes into it appears here.</Empty>
          ) : (
            <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
              <table>
                <thead>
                  <tr>
                    <th>Name</th>
                    <th class="num">Size</th>
                    <th class="num">Changed</th>
                    <th />
                  </tr>
                </thead>
                <tbody>
                  {files.map((file) => (
                    <tr key={file.name}>
                      <td>
                        <span class="state">
                          <Icon name={file.kind === "folder" ? "folder" : "file"} size={14} />
                          {file.kind === "folder" ? (
                            <button type="button" class="button quiet" onClick={() => setQuery({ path: inside(file.name) }, false)}>
                              {file.name}
                            </button>
                          ) : (
                            file.name
                          )}
                        </span>
                      </td>
                      <td class="num nowrap">{file.kind === "file" ? bytes(file.size) : ""}</td>
                      <td class="num nowrap">
                        <Ago at={file.modified} />
                      </td>
                      <td class="num nowrap">
                        {file.kind === "file" && (
                          <>
                            <button type="button" class="button quiet" onClick={() => setView(inside(file.name))}>
                              View
                            </button>
                            <a class="button quiet" download={file.name} href={`/api/v1/tasks/${encodeURIComponent(task)}/download?path=${encodeURIComponent(inside(file.name))}`}>
                              Download
                            </a>
                          </>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {truncated && <p class="empty">There are more files than are listed.</p>}
            </div>
          )
        }
      </Answer>
      {view && <FileText task={task} path={view} />}
    </>
  );
}

/** The beginning of a file, as text and never as a page. */
function FileText({ task, path }: { task: string; path: string }) {
  const chunk = useQuery(`file ${task} ${path}`, (signal) => ask("READ_SANDBOX_FILE", { task_id: task, name: path, offset: 0, length: 65_536 }, signal));
  return (
    <Answer query={chunk}>
      {({ data, size }) => {
        const text = new TextDecoder().decode(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)));
        return (
          <>
            <p class="muted" style={{ padding: "8px 16px", borderTop: "1px solid var(--line)" }}>
              {path}, {bytes(size)}
              {size > 65_536 && ": the first 64 kB"}
            </p>
            <pre class="log" tabIndex={0} style={{ margin: 0, padding: "8px 16px", height: "320px" }}>
              {text}
            </pre>
          </>
        );
      }}
    </Answer>
  );
}
