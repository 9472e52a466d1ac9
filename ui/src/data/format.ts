// Numbers, sizes and times as people read them; the exact value is for the title.
import { zone } from "./prefs";

const THIN = "\u202f";

export function count(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A count in little room: 182k. */
export function short(value: number): string {
  if (Math.abs(value) < 10_000) return count(value);
  if (Math.abs(value) < 999_500) return `${(value / 1000).toFixed(value < 99_950 ? 1 : 0).replace(/\.0$/, "")}k`;
  return `${(value / 1e6).toFixed(1).replace(/\.0$/, "")}M`;
}

/** What stands before a figure that does not count all processes of a task: its agent has no cgroups. */
export function about(task: { measured_by: string }): string {
  return task.measured_by === "wait" ? "~" : "";
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, "")}${THIN}${units[at]}`;
}

/** An amount of a resource: mem and disk are in MB. */
export function amount(name: string, value: number): string {
  if (name === "mem" || name === "disk") return bytes(value * 1024 * 1024);
  return Number.isInteger(value) ? count(value) : String(Math.round(value * 100) / 100);
}

export function percent(value: number): string {
  return `${value > 0 && value < 0.01 ? "<1" : Math.round(value * 100)}${THIN}%`;
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const value = Math.max(0, seconds);
  if (value < 1) return `${Math.round(value * 1000)}${THIN}ms`;
  if (value < 10) return `${value.toFixed(1)}${THIN}s`;
  if (value < 90) return `${Math.round(value)}${THIN}s`;
  if (value < 90 * 60) return `${Math.round(value / 60)}${THIN}min`;
  if (value < 48 * 3600) return `${Math.round(value / 3600)}${THIN}h`;
  return `${Math.round(value / 86400)}${THIN}d`;
}

/** `seconds` since the epoch as a time of day, with the day if it is not today. */
export function clock(seconds: number, withSeconds = true): string {
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (withSeconds) options.second = "2-digit";
  if (zone.value === "utc") options.timeZone = "UTC";
  const date = new Date(seconds * 1000);
  const day = new Intl.DateTimeFormat("en-CA", zone.value === "utc" ? { timeZone: "UTC" } : {});
  const text = new Intl.DateTimeFormat("en-GB", options).format(date);
  return day.format(date) === day.format(new Date()) ? text : `${day.format(date)} ${text}`;
}

export function exact(seconds: number): string {
  return zone.value === "utc" ? new Date(seconds * 1000).toISOString() : new Date(seconds * 1000).toString();
}

export type Amounts = Record<string, number>;

/** The amounts in a text of resources; ranges and sets are counted. */
export function amounts(text: string): Amounts {
  const found: Amounts = {};
  for (const part of text.split(";")) {
    const colon = part.indexOf(":");
    if (colon < 1) continue;
    const name = part.slice(0, colon);
    const value = part.slice(colon + 1);
    if (value.startsWith("[")) {
      found[name] = value
        .slice(1, -1)
        .split(",")
        .reduce((sum, range) => {
          const [low, high] = range.split("-").map(Number);
          return sum + ((high ?? low ?? 0) - (low ?? 0) + 1);
        }, 0);
    } else if (value.startsWith("{")) found[name] = value.slice(1, -1).split(",").filter(Boolean).length;
    else found[name] = Number(value);
  }
  return found;
}

/** Resources in a line: 4 cpus · 4 GB. */
export function resources(text: string): string {
  return Object.entries(amounts(text))
    .map(([name, value]) => (name === "mem" || name === "disk" ? `${amount(name, value)}${name === "disk" ? " disk" : ""}` : `${amount(name, value)} ${name}`))
    .join(" · ");
}
