// What several pages show of jobs.
import type { JobSummary } from "../api";
import { count } from "../data/format";
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
