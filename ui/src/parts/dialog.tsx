// Dialogs of actions. A destructive one names its effect in numbers; the focus is on Cancel; the result stays in it.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { may } from "../data/session";

export interface Action {
  title: string;
  /** What it does, each a line with numbers. */
  effect: string[];
  /** The text on the button that does it. */
  verb: string;
  danger?: boolean;
  /** What has to be typed before it can be done: an id or a number; for what affects many. */
  type?: string;
  /** Fields of the dialog. */
  fields?: { name: string; label: string; value?: string; hint?: string; kind?: "text" | "number" | "area" | "check" | "datetime-local" }[];
  /** Does it. Returns what has happened, in one line. */
  run: (values: Record<string, string>) => Promise<string>;
  done?: () => void;
  /** The same as a command. */
  command?: string;
}

const open = signal<Action | null>(null);

export function confirm(action: Action): void {
  open.value = action;
}

/** A button for an action, which is disabled, with the reason, for who may not do it. */
export function ActionButton({ right, danger, children, onClick }: { right: string; danger?: boolean; children: ComponentChildren; onClick: () => void }) {
  const reason = may(right);
  return (
    <button
      type="button"
      class={`button${danger ? " danger" : ""}`}
      aria-disabled={reason ? true : undefined}
      title={reason || undefined}
      onClick={() => reason || onClick()}
    >
      {children}
      {reason && <span class="hidden"> ({reason})</span>}
    </button>
  );
}

export function Dialogs() {
  const action = open.value;
  return action ? <Confirm key={action.title} action={action} /> : null;
}

function Confirm({ action }: { action: Action }) {
  const element = useRef<HTMLDialogElement>(null);
  const cancel = useRef<HTMLButtonElement>(null);
  const [values, setValues] = useState<Record<string, string>>(() => Object.fromEntries((action.fields ?? []).map((field) => [field.name, field.value ?? ""])));
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState<{ text: string; bad: boolean } | null>(null);
  useEffect(() => {
    element.current!.showModal();
    const first = element.current!.querySelector<HTMLElement>("input, textarea");
    if (action.danger || !first) cancel.current!.focus();
    else first.focus();
  }, []);
  const close = () => {
    if (busy) return;
    open.value = null;
    if (result && !result.bad) action.done?.();
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || (action.type && typed.trim() !== action.type)) return;
    setBusy(true);
    try {
      setResult({ text: await action.run(values), bad: false });
    } catch (error) {
      setResult({ text: error instanceof Error ? error.message : String(error), bad: true });
    } finally {
      setBusy(false);
      requestAnimationFrame(() => cancel.current?.focus());
    }
  };
  const finished = result !== null && !result.bad;
  return (
    <dialog ref={element} aria-labelledby="dialog-title" onCancel={(event) => { event.preventDefault(); close(); }}>
      <form onSubmit={submit}>
        <h2 id="dialog-title">{action.title}</h2>
        {!finished && action.effect.length > 0 && (
          <ul class={action.danger ? "effect" : ""}>
            {action.effect.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        )}
        {!finished &&
          action.fields?.map((field) =>
            field.kind === "check" ? (
              <label key={field.name} class="check">
                <input type="checkbox" checked={values[field.name] === "yes"} onChange={(event) => setValues({ ...values, [field.name]: event.currentTarget.checked ? "yes" : "" })} />
                {field.label}
              </label>
            ) : (
              <label key={field.name} class="label">
                {field.label}
                {field.kind === "area" ? (
                  <textarea class="field mono" rows={5} value={values[field.name]} onInput={(event) => setValues({ ...values, [field.name]: event.currentTarget.value })} />
                ) : (
                  <input class="field" type={field.kind ?? "text"} value={values[field.name]} placeholder={field.hint} onInput={(event) => setValues({ ...values, [field.name]: event.currentTarget.value })} />
                )}
              </label>
            ),
          )}
        {!finished && action.type && (
          <label class="label">
            <span>
              Type <code>{action.type}</code> to confirm
            </span>
            <input class="field mono" value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
          </label>
        )}
        {result && (
          <p class={`result${result.bad ? " bad" : ""}`} role="alert">
            {result.text}
          </p>
        )}
        {action.command && !finished && (
          <p class="muted">
            The same as a command: <code class="command">{action.command}</code>
          </p>
        )}
        <div class="buttons">
          <button ref={cancel} type="button" class="button" onClick={close}>
            {finished ? "Close" : "Cancel"}
          </button>
          {!finished && (
            <button type="submit" class={`button main${action.danger ? " danger" : ""}`} disabled={busy || (!!action.type && typed.trim() !== action.type)}>
              {busy ? "Working…" : action.verb}
            </button>
          )}
        </div>
      </form>
    </dialog>
  );
}
