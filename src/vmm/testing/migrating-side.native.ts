import { reasonOf } from '../../util/errors.ts'
import type { MigrationOptions, Undecided } from '../departure.ts'
import { Vm } from '../vm.ts'
import { bootCountingVm } from './counting-vm.native.ts'

/** What a side is asked for. */
export type SideRequest =
  | { readonly kind: 'boot'; readonly place: string }
  | { readonly kind: 'send'; readonly url: string; readonly options: Omit<MigrationOptions, 'signal'> }
  | { readonly kind: 'receive'; readonly url: string; readonly peerTimeoutMs: number; readonly resolveMs: number }
  /** Nobody is waited for any more. */
  | { readonly kind: 'give-up' }
  | { readonly kind: 'keep' }
  | { readonly kind: 'resume' }
  | { readonly kind: 'close' }

/** What it says. */
export type SideReport =
  | { readonly kind: 'booted' | 'listening' | 'doubt' | 'complete' | 'completing' | 'closed' }
  | { readonly kind: 'code'; readonly code: number }
  /** How a migration has ended here: whether the machine runs in this process, and why if that is for a failure. */
  | { readonly kind: 'outcome'; readonly hasMachine: boolean; readonly reason: string }

let vm: Vm | undefined
let waiting = new AbortController()
let undecided: Undecided | undefined

function report(what: SideReport): void {
  process.send?.(what)
}

function adopt(its: Vm): void {
  vm = its
  its.on('debug-code', code => report({ kind: 'code', code }))
  its.on('migration-in-doubt', () => report({ kind: 'doubt' }))
  its.on('migration-completed', () => report({ kind: 'complete' }))
  its.on('migration-progress', ({ phase }) => {
    if (phase === 'completing') report({ kind: 'completing' })
  })
}

async function send(url: string, options: MigrationOptions): Promise<void> {
  const its = vm
  if (its === undefined) throw new Error('there is no machine')
  undecided = { id: '', decide: decision => its.resolveMigration(decision) }
  try {
    await its.sendMigration(url, options)
    vm = undefined
    report({ kind: 'outcome', hasMachine: false, reason: '' })
  } catch (error) {
    report({ kind: 'outcome', hasMachine: its.state === 'running', reason: reasonOf(error) })
  }
}

async function receive(url: string, options: { peerTimeoutMs: number; resolveMs: number }): Promise<void> {
  waiting = new AbortController()
  try {
    const its = await Vm.receiveMigration(url, {
      ...{ ...options, signal: waiting.signal },
      onListening: () => report({ kind: 'listening' }),
      onDoubt: each => {
        undecided = each
        report({ kind: 'doubt' })
      },
    })
    adopt(its)
    report({ kind: 'outcome', hasMachine: true, reason: its.state === 'running' ? '' : its.state })
  } catch (error) {
    report({ kind: 'outcome', hasMachine: false, reason: reasonOf(error) })
  }
}

async function serve(request: SideRequest): Promise<void> {
  switch (request.kind) {
    case 'boot':
      adopt(await bootCountingVm(request.place))
      return report({ kind: 'booted' })
    case 'send':
      return await send(request.url, request.options)
    case 'receive':
      return await receive(request.url, request)
    case 'give-up':
      return waiting.abort(new Error('nobody has come'))
    case 'keep':
      return await undecided?.decide('keep')
    case 'resume':
      return vm?.state === 'paused' ? await vm.resume() : undefined
    case 'close':
      await vm?.close()
      vm = undefined
      return report({ kind: 'closed' })
  }
}

process.on('message', (request: SideRequest) => void serve(request))
process.on('disconnect', () => process.exit())
