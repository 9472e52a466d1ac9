// What several pages show of jobs.
import type { JobSpec, JobSummary } from "../api";
import { amounts, count, resources } from "../data/format";
import { ask } from "../data/request";
import { go, url } from "../data/router";
import { Bar, plural } from "./basics";
import type { Action } from "./dialog";

export const JOB_STATES = ["finished", "running", "pending", "failed", "killed"] as const;
export const STATE_CLASS: Record<string, string> = { finished: "c-good", running: "c-busy", pending: "c-wait", failed: "c-bad", killed: "c-away" };

export function JobBar({ job, tall = false }: { job: Pick<JobSummary, "counts" | "total">; tall?: boolean }) {
  const text = JOB_STATES.filter((state) => job.counts[state])
    .map((state) => `${count(job.counts[state]!)} ${state === "pending" ? "waiting" : state}`)
    .join(", ");
  return <Bar tall={tall} label={text || "no tasks"} total={job.total} parts={JOB_STATES.map((state) => ({ name: state, value: job.counts[state] ?? 0, class: STATE_CLASS[state]! }))} />;
}

export function killJobAction(job: JobSummary, done: () => void): Action {
  const [running, pending] = [job.counts["running"] ?? 0, job.counts["pending"] ?? 0];
  return {
    title: `Kill job ${job.name || job.job_id}`,
    danger: true,
    verb: "Kill",
    effect: [
      running ? `Kills ${plural(running, "task")} that run${running === 1 ? "s" : ""} now.` : "No task of it runs now.",
      ...(pending ? [`${plural(pending, "task")} that wait${pending === 1 ? "s" : ""} will never run.`] : []),
    ],
    ...(running + pending > 100 ? { type: job.job_id } : {}),
    command: `bmesos kill ${job.job_id}`,
    run: async () => {
      const answer = await ask("KILL_BY_ID", { id: job.job_id });
      return answer.note || `Job ${job.job_id} is being killed.`;
    },
    done,
  };
}

export function submitAction(values: Record<string, string> = {}): Action {
  let made = "";
  return {
    title: "Submit a job",
    verb: "Submit",
    effect: [],
    fields: [
      { name: "command", label: "Command, for /bin/sh", kind: "area", value: values["command"] ?? "" },
      { name: "name", label: "Name", value: values["name"] ?? "" },
      { name: "cpus", label: "CPUs of each task", kind: "number", value: values["cpus"] ?? "1" },
      { name: "mem", label: "Memory of each task, in MB", kind: "number", value: values["mem"] ?? "256" },
      { name: "gpus", label: "GPUs of each task (empty: none)", kind: "number", value: values["gpus"] ?? "" },
      { name: "count", label: "Number of tasks (empty: one)", kind: "number", value: values["count"] ?? "" },
    ],
    run: async (given) => {
      const text = given["command"]!.trim();
      if (!text) throw new Error("A job needs a command.");
      const parts = [`cpus:${given["cpus"] || 1}`, `mem:${given["mem"] || 256}`];
      if (Number(given["gpus"])) parts.push(`gpus:${given["gpus"]}`);
      const tasks = Number(given["count"]) || 0;
      const ident = `ui-${crypto.getRandomValues(new Uint32Array(2)).join("").slice(0, 14)}`;
      made = ident;
      await ask("SUBMIT_JOB", {
        job_id: ident,
        spec: {
          name: given["name"]?.trim() || text.split(/\s+/)[0]!.split("/").at(-1)!.slice(0, 60),
          command: { arguments: [text], shell: true },
          resources: parts.join(";"),
          ...(tasks > 1 ? { array: [0, tasks - 1] as [number, number] } : {}),
        },
      });
      return `Job ${ident} is stored, and runs as soon as there is room.`;
    },
    done: () => go(url("jobs", made)),
  };
}

export function quoted(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
}

/** The job as a command that submits another one like it. */
export function asCommand(spec: JobSpec): string {
  const words = ["bmesos", "submit"];
  if (spec.name) words.push("--name", quoted(spec.name));
  for (const [name, value] of Object.entries(amounts(spec.resources ?? ""))) if (name === "cpus" || name === "mem" || name === "gpus" || name === "disk") words.push(`--${name}`, String(value));
  if (spec.array) words.push("--array", spec.ranges?.length ? spec.ranges.map(([first, last, step]) => `${first}-${last}:${step}`).join(",") : `${spec.array[0]}-${spec.array[1]}`);
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


function indices(spec: JobSpec): number {
  if (!spec.array) return 1;
  if (!spec.ranges?.length) return spec.array[1] - spec.array[0] + 1;
  return spec.ranges.reduce((sum, [first, last, step]) => sum + Math.floor((last - first) / step) + 1, 0);
}

/** Submits a job as another one, with all that it asks for; with `index`, only that task of its array. */
export function retryAsNewAction(job: string, spec: JobSpec, index: number | null = null): Action {
  const { after, ...rest } = spec;
  const one = index !== null && !!spec.array;
  const fresh: JobSpec = one ? { ...rest, array: [index, index], ranges: [], gang: false, max_running: 0 } : rest;
  const tasks = indices(fresh);
  const ident = `ui-${crypto.getRandomValues(new Uint32Array(2)).join("").slice(0, 14)}`;
  return {
    title: one ? `Retry task ${index} of ${job} as a new job` : `Retry ${job} as a new job`,
    verb: "Submit",
    effect: [
      `Submits ${plural(tasks, "task")} as a new job with the same command${one ? ` and index ${index}` : ""}: ${resources(spec.resources ?? "")} each.`,
      `Job ${job} stays as it is, with its output.`,
      ...(after?.length ? [`The new job does not wait for the ${plural(after.length, "job")} that this one ran after.`] : []),
    ],
    command: asCommand(fresh),
    run: async () => {
      await ask("SUBMIT_JOB", { job_id: ident, spec: fresh });
      return `Job ${ident} is stored, and runs as soon as there is room.`;
    },
    done: () => go(url("jobs", ident)),
  };
}
