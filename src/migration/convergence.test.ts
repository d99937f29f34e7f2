import test from 'ava'
import fc from 'fast-check'
import { Convergence, type ConvergenceOptions } from './convergence.ts'

const usual: ConvergenceOptions = {
  ...{ downtimeMs: 300, timeoutMs: 3_600_000, atTimeout: 'cancel', mostThrottlePercent: 99, mayPostcopy: false },
}

interface Guest {
  readonly pages: number
  /** Of the pages it writes to. */
  readonly hotPages: number
  readonly dirtyPagesPerMs: number
  readonly sentPagesPerMs: number
}

/** How the migration of a guest like this ends; `pauseMs` is what it really takes to send what is left. */
function simulate(guest: Guest, options: Partial<ConvergenceOptions> = {}) {
  const convergence = new Convergence({ ...usual, ...options })
  let pages = guest.pages
  let elapsedMs = 0
  for (let passes = 1; passes < 10_000; passes += 1) {
    const passMs = pages / guest.sentPagesPerMs + 1
    elapsedMs += passMs
    const speed = 1 - convergence.throttlePercent / 100
    const dirtyPages = Math.min(guest.hotPages, Math.round(guest.dirtyPagesPerMs * speed * passMs))
    const decision = convergence.decide({ pages, elapsedMs: passMs, dirtyPages }, elapsedMs)
    pages = dirtyPages
    if (decision.kind === 'pass' || decision.kind === 'throttle') continue
    const pauseMs = pages / guest.sentPagesPerMs
    return { kind: decision.kind, passes, pauseMs, elapsedMs, throttlePercent: convergence.throttlePercent }
  }
  throw new Error('it goes on for ever')
}

const idle: Guest = { pages: 131_072, hotPages: 500, dirtyPagesPerMs: 0.5, sentPagesPerMs: 50 }
const busy: Guest = { pages: 131_072, hotPages: 65_536, dirtyPagesPerMs: 16, sentPagesPerMs: 50 }
const wild: Guest = { ...busy, dirtyPagesPerMs: 100 }

test('an idle guest is moved after a few passes', t => {
  const { kind, passes, pauseMs } = simulate(idle)
  t.is(kind, 'cut-over')
  t.true(passes <= 4, `${passes} passes`)
  t.true(pauseMs < 10)
})

test('a busy guest is copied for as long as that shortens its pause', t => {
  const { kind, pauseMs, throttlePercent } = simulate(busy)
  t.is(kind, 'cut-over')
  t.true(pauseMs < 10, `${pauseMs} ms`)
  t.is(throttlePercent, 0)
})

test('a guest that writes faster than it is copied is slowed down until it can be moved', t => {
  const { kind, pauseMs, throttlePercent } = simulate(wild)
  t.is(kind, 'cut-over')
  t.true(pauseMs <= 280)
  t.true(throttlePercent >= 50 && throttlePercent <= 99, `${throttlePercent} %`)
})

test('where it may not be slowed down time ends it, one way or the other', t => {
  const limited = { mostThrottlePercent: 0, timeoutMs: 60_000 }
  t.is(simulate(wild, limited).kind, 'cancel')
  const { kind, elapsedMs } = simulate(wild, { ...limited, atTimeout: 'cut-over' })
  t.is(kind, 'cut-over')
  t.true(elapsedMs >= 60_000)
})

test('where it may, it goes on at the destination instead', t => {
  const { kind, passes } = simulate(wild, { mayPostcopy: true })
  t.is(kind, 'postcopy')
  t.true(passes <= 5)
  t.is(simulate(idle, { mayPostcopy: true }).kind, 'cut-over')
})

test('whatever the guest, a pause within the limit is promised and kept, or none is made', t => {
  const guest = fc.record({
    pages: fc.integer({ min: 1000, max: 10_000_000 }),
    hotPages: fc.integer({ min: 0, max: 1_000_000 }),
    dirtyPagesPerMs: fc.double({ min: 0, max: 1000, noNaN: true }),
    sentPagesPerMs: fc.double({ min: 1, max: 1000, noNaN: true }),
  })
  fc.assert(
    fc.property(guest, fc.integer({ min: 50, max: 2000 }), (each, downtimeMs) => {
      const { kind, pauseMs } = simulate(each, { downtimeMs, timeoutMs: 600_000 })
      t.true(kind === 'cancel' || (kind === 'cut-over' && pauseMs <= downtimeMs), `${kind} with ${pauseMs} ms`)
    }),
  )
})
