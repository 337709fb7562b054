// Runs snippets of JavaScript for the tests: a line of JSON in, a line of JSON out.
// A snippet sees BullMQ as `B` and the helpers below; what it returns is the answer.
import { createInterface } from 'node:readline';
import * as B from 'bullmq';

const [, , host, port] = process.argv;
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const known = new Map();

const once = async (key, make) => {
  if (!known.has(key)) {
    const made = make();
    made.on?.('error', () => {});
    known.set(key, made);
    await made.waitUntilReady?.();
  }
  return known.get(key);
};

const helpers = {
  B,
  known,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  queue: (prefix, name) =>
    once(`queue ${prefix} ${name}`, () => new B.Queue(name, { connection, prefix })),
  // Runs nothing by itself: jobs are claimed and settled by hand.
  hand: (prefix, name, options = {}) =>
    once(`hand ${prefix} ${name} ${JSON.stringify(options)}`, () =>
      new B.Worker(name, null, { connection, prefix, autorun: false, ...options })),
  worker: (prefix, name, handler, options = {}) =>
    once(`worker ${prefix} ${name}`, () =>
      new B.Worker(name, handler, { connection, prefix, ...options })),
  events: (prefix, name) =>
    once(`events ${prefix} ${name}`, () => new B.QueueEvents(name, { connection, prefix })),
  flow: (prefix) => once(`flow ${prefix}`, () => new B.FlowProducer({ connection, prefix })),
  closeAll: async () => {
    const closing = [...known.values()].map((one) => one.close?.(true));
    known.clear();
    await Promise.allSettled(closing);
  },
};

const AsyncFunction = (async () => {}).constructor;

const answer = async (line) => {
  const { code, args } = JSON.parse(line);
  try {
    const run = new AsyncFunction(...Object.keys(helpers), 'args', code);
    return { value: (await run(...Object.values(helpers), args)) ?? null };
  } catch (error) {
    return { error: String(error?.stack ?? error) };
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
process.exit(0);
