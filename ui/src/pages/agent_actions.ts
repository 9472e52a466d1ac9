// What operators do with agents. Each says in numbers what it does, before it does it.
import { refreshAgents, type Agent } from "../data/agents";
import { count } from "../data/format";
import { ask } from "../data/request";
import type { Action } from "../parts/dialog";
import { plural } from "../parts/basics";

type Some = Pick<Agent, "id" | "tasks">;
const MANY = 10;

function named(agents: Some[]): string {
  return agents.length === 1 ? agents[0]!.id : `${count(agents.length)} agents`;
}

function tasks(agents: Some[]): number {
  return agents.reduce((sum, each) => sum + each.tasks, 0);
}

function ids(agents: Some[]): string[] {
  return agents.map((each) => each.id);
}

function command(verb: string, agents: Some[], more = ""): string {
  const shown = ids(agents).slice(0, 5).join(" ");
  return `bmesos ${verb} ${shown}${agents.length > 5 ? " …" : ""}${more}`;
}

/** For a number of agents that is easily chosen by mistake, the number has to be typed. */
function typed(agents: Some[]): { type?: string } {
  return agents.length > MANY ? { type: String(agents.length) } : {};
}

function after(done: () => void): () => void {
  return () => {
    done();
    refreshAgents();
  };
}

export function drainAction(agents: Some[], done: () => void): Action {
  const running = tasks(agents);
  return {
    title: `Drain ${named(agents)}`,
    danger: true,
    verb: "Drain",
    effect: [
      running ? `Kills ${plural(running, "task")} on ${named(agents)}. They may run again elsewhere.` : `No task runs on ${named(agents)} now.`,
      "Nothing of them is offered until they are activated again.",
    ],
    fields: [{ name: "grace", label: "Seconds between SIGTERM and SIGKILL (empty: as each agent has it)", kind: "number" }],
    ...typed(agents),
    command: command("agents drain", agents),
    run: async ({ grace }) => {
      const answer = await ask("DRAIN_AGENTS", { agent_ids: ids(agents), ...(grace ? { grace: Number(grace) } : {}) });
      return `${plural(answer.agents.length, "agent")} drain: ${plural(answer.agents.reduce((sum, each) => sum + (each.tasks ?? 0), 0), "task")} left to end.`;
    },
    done: after(done),
  };
}

export function deactivateAction(agents: Some[], done: () => void): Action {
  return {
    title: `Deactivate ${named(agents)}`,
    verb: "Deactivate",
    effect: [`Nothing of ${named(agents)} is offered any more. ${plural(tasks(agents), "task")} there ${tasks(agents) === 1 ? "runs" : "run"} on.`],
    ...typed(agents),
    command: command("agents deactivate", agents),
    run: async () => `${plural((await ask("DEACTIVATE_AGENTS", { agent_ids: ids(agents) })).agents.length, "agent")} deactivated.`,
    done: after(done),
  };
}

export function activateAction(agents: Some[], done: () => void): Action {
  return {
    title: `Activate ${named(agents)}`,
    verb: "Activate",
    effect: [`What ${named(agents)} ${agents.length === 1 ? "has" : "have"} is offered again.`],
    command: command("agents activate", agents),
    run: async () => `${plural((await ask("ACTIVATE_AGENTS", { agent_ids: ids(agents) })).agents.length, "agent")} activated.`,
    done: after(done),
  };
}

export function scheduleAction(agents: Some[], done: () => void): Action {
  return {
    title: `Schedule an absence of ${named(agents)}`,
    verb: "Schedule",
    effect: ["At the start they are drained, and at the end activated. Frameworks with tasks there are asked to give them back before."],
    fields: [
      { name: "start", label: "Start, in your time", kind: "datetime-local" },
      { name: "hours", label: "Hours until they return (empty: not expected to return)", kind: "number", value: "2" },
    ],
    ...typed(agents),
    run: async ({ start, hours }) => {
      const at = start ? new Date(start).getTime() / 1000 : Number.NaN;
      if (!Number.isFinite(at)) throw new Error("Give the start of the absence.");
      const answer = await ask("SCHEDULE_MAINTENANCE", { agent_ids: ids(agents), start: at, ...(hours ? { duration: Number(hours) * 3600 } : {}) });
      return `Scheduled for ${plural(answer.agents.length, "agent")}.`;
    },
    done: after(done),
  };
}

export function goneAction(agent: Some, done: () => void): Action {
  return {
    title: `Mark ${agent.id} as gone for ever`,
    danger: true,
    verb: "Mark as gone",
    effect: [
      `${plural(agent.tasks, "task")} there ${agent.tasks === 1 ? "ends" : "end"} as lost to the cluster, and may run elsewhere.`,
      "This cannot be taken back. If the machine returns, tasks that still run on it are killed.",
    ],
    type: agent.id,
    command: `bmesos agents gone ${agent.id}`,
    run: async () => {
      const answer = await ask("MARK_AGENT_GONE", { agent_id: agent.id });
      return `${agent.id} is gone; ${plural(answer.tasks, "task")} ended.`;
    },
    done: after(done),
  };
}
