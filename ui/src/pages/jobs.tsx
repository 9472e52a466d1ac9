// Jobs: a bar per job, filters in the URL, pages by cursor.
import type { JobSummary } from "../api";
import { count } from "../data/format";
import { useQuery } from "../data/query";
import { ask } from "../data/request";
import { go, place, setQuery, url } from "../data/router";
import { useTopics } from "../data/stream";
import { Ago, Answer, Empty, Legend, Panel, Segments } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { State } from "../parts/icons";
import { JOB_STATES, JobBar, STATE_CLASS, submitAction } from "../parts/jobs";
import { VirtualTable, type Column } from "../parts/table";

const FILTERS = [
  ["", "All"],
  ["active", "Not ended"],
  ["pending", "Waiting"],
  ["running", "Running"],
  ["finished", "Finished"],
  ["failed", "Failed"],
  ["killed", "Killed"],
] as const;
type Filter = (typeof FILTERS)[number][0];
const PAGE = 100;

export function JobsPage() {
  useTopics("jobs");
  const query = place.value.query;
  const state = (FILTERS.find(([each]) => each === query.get("state"))?.[0] ?? "") as Filter;
  const user = query.get("user") ?? "";
  const name = query.get("name") ?? "";
  const waits = query.get("waits") ?? "";
  const after = Number(query.get("after")) || 0;
  const limit = Math.min(1000, Number(query.get("limit")) || PAGE);
  const which = {
    kind: state === "active" ? ("active" as const) : ("all" as const),
    ...(state && state !== "active" ? { states: [state] } : {}),
    ...(user ? { user } : {}),
    // A text without a pattern is a part of the name.
    ...(name ? { name: /[*?[]/.test(name) ? name : `*${name}*` } : {}),
    ...(after ? { after } : {}),
  };
  const jobs = useQuery(`jobs ${JSON.stringify(which)} ${limit} ${waits}`, (signal) => ask("GET_JOBS", { which, limit, ...(waits ? { waits_group: waits } : {}) }, signal), {
    every: 2,
    everyLive: 10,
    on: (frame) => frame.event === "delta" && (frame.data as { topic: string }).topic === "jobs",
  });
  const filtered = !!(waits || user || name || after || (state && state !== "active"));
  const columns: Column<JobSummary>[] = [
    {
      key: "job",
      name: "Job",
      width: "minmax(200px,1.5fr)",
      cell: (job) => (
        <a class="id" tabIndex={-1} href={url("jobs", job.job_id)} title={job.job_id}>
          {job.name || job.job_id}
          {job.name && job.name !== job.job_id && <span class="muted"> {job.job_id}</span>}
        </a>
      ),
    },
    { key: "state", name: "State", width: "108px", cell: (job) => <State state={job.state} /> },
    {
      key: "progress",
      name: "Tasks",
      width: "minmax(170px,1fr)",
      cell: (job) => (
        <span class="meter">
          <JobBar job={job} />
          <span>
            {count(job.counts["finished"] ?? 0)}/{count(job.total)}
          </span>
        </span>
      ),
    },
    { key: "failed", name: "Failed", width: "64px", number: true, cell: (job) => (job.counts["failed"] ? <span class="is-bad">{count(job.counts["failed"])}</span> : <span class="muted">0</span>) },
    { key: "waiting", name: "Waits for", width: "minmax(150px,1.6fr)", cell: (job) => <Waits job={job} /> },
    { key: "user", name: "User", width: "90px", cell: (job) => job.user || <span class="muted">–</span> },
    { key: "role", name: "Role", width: "90px", cell: (job) => (job.role === "*" ? <span class="muted">*</span> : job.role) },
    { key: "at", name: "Submitted", width: "104px", number: true, cell: (job) => <Ago at={job.submitted_at} /> },
  ];
  return (
    <>
      <div class="head">
        <h1>Jobs</h1>
        {jobs.data && (
          <span class="muted">
            {filtered ? `${count(jobs.data.jobs.length)}${jobs.data.truncated ? " or more" : ""} match` : `${count(jobs.data.total)} ${state === "active" ? "have not ended" : "in all"}`}
          </span>
        )}
        <div class="actions">
          <ActionButton right="submit" onClick={() => confirm(submitAction())}>Submit…</ActionButton>
        </div>
      </div>
      <div class="toolbar">
        <Segments label="State" value={state} options={FILTERS} set={(value) => setQuery({ state: value, after: "", limit: "" })} />
        <input class="field" data-filter type="search" aria-label="Name" placeholder="Name or pattern" value={name} onInput={(event) => setQuery({ name: event.currentTarget.value, after: "" })} />
        <input class="field" style={{ width: "120px" }} type="search" aria-label="User" placeholder="User" value={user} onInput={(event) => setQuery({ user: event.currentTarget.value, after: "" })} />
        {waits && (
          <button type="button" class="button" onClick={() => setQuery({ waits: "", after: "" })} title="Show jobs whatever they wait for">
            waits for: {waits} ✕
          </button>
        )}
      </div>
      <Panel
        title="Jobs, the latest first"
        flush
        tools={<Legend entries={JOB_STATES.map((each) => [each === "pending" ? "waiting" : each, STATE_CLASS[each]!])} />}
      >
        <Answer query={jobs} rows={8}>
          {(list) => (
            <>
              <VirtualTable
                label="Jobs"
                rows={list.jobs}
                id={(job) => job.job_id}
                columns={columns}
                open={(job) => go(url("jobs", job.job_id))}
                minWidth={1000}
                height={list.jobs.length > 18 ? "calc(100vh - 260px)" : ""}
                empty={
                  filtered || state ? (
                    <Empty title="No job matches">Try another state, or a part of the name.</Empty>
                  ) : (
                    <Empty title="No job was submitted yet" command="bmesos submit -- echo hello">
                      Submit one here, or in a shell:
                    </Empty>
                  )
                }
              />
              {(list.truncated || after > 0) && (
                <div class="toolbar body" style={{ borderTop: "1px solid var(--line)", padding: "8px 16px" }}>
                  {list.truncated && limit < 1000 && (
                    <button type="button" class="button" onClick={() => setQuery({ limit: String(Math.min(1000, limit * 3)) })}>
                      Show more
                    </button>
                  )}
                  {list.after !== null && (
                    <button type="button" class="button" onClick={() => setQuery({ after: String(list.after) }, false)}>
                      Next page
                    </button>
                  )}
                  {after > 0 && (
                    <button type="button" class="button quiet" onClick={() => setQuery({ after: "" }, false)}>
                      First page
                    </button>
                  )}
                </div>
              )}
            </>
          )}
        </Answer>
      </Panel>
    </>
  );
}

/** What a job waits for: the reason in a word or two, and the whole of it. */
function Waits({ job }: { job: JobSummary }) {
  const text = job.waiting || job.reason;
  if (!job.waits_group) return <span title={text}>{text || <span class="muted">–</span>}</span>;
  return (
    <span title={text || job.waits_group}>
      <b>{job.waits_group}</b>
      {text && <span class="muted"> {text}</span>}
    </span>
  );
}
