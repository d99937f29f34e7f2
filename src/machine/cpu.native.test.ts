import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { buildElf, word } from '../boot/testing/elf-builder.ts'
import { settled } from '../config/settle.ts'
import { parseVmConfig } from '../config/vm-config.ts'
import { loadAll, saveAll } from '../state/walk.ts'
import { type BuildOptions, buildMachine } from './build.ts'
import type { CpuFingerprint } from './cpu-fingerprint.ts'
import { unheard } from './testing/unheard.ts'

const kernelAddress = 0x10_0000
const tscAdjust = 1 << 1

interface Parts {
  readonly addressBits?: number
  readonly template?: unknown
  readonly options?: BuildOptions
}

/** A machine of two vCPUs that has not begun. */
async function aMachine(t: ExecutionContext, { addressBits = 46, template, options }: Parts = {}) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-cpu-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const kernel = join(place, 'kernel')
  const segments = [{ address: kernelAddress, contents: Uint8Array.of(0xf4) }]
  writeFileSync(kernel, buildElf({ segments, notes: [{ contents: word(kernelAddress) }] }))
  const file = join(place, 'template.json')
  if (template !== undefined) writeFileSync(file, JSON.stringify(template))
  const config = settled(
    parseVmConfig({
      payload: { kernel },
      cpus: { boot_vcpus: 2, max_phys_bits: addressBits, ...(template === undefined ? {} : { template: file }) },
      ...{ memory: { size: 64 * 1024 * 1024 }, console: { mode: 'Off' } },
    }),
  )
  const machine = await buildMachine(config, unheard, options)
  t.teardown(() => machine.components.close())
  await machine.components.pause()
  return { machine, components: machine.components.components, file, place }
}

const withoutTscAdjust = {
  cpuid_modifiers: [
    {
      ...{ leaf: '0x7', subleaf: '0x0', flags: 1 },
      modifiers: [{ register: 'ebx', bitmap: '0b0x' }],
    },
  ],
}

function leaf7(cpu: CpuFingerprint): number {
  if (cpu.architecture !== 'x86_64') throw new Error(cpu.architecture)
  return Number(cpu.cpuid['0x7.0.ebx'] ?? 0)
}

test('a guest has what its template leaves, and so has one restored from it, without a template', async t => {
  const plain = leaf7((await aMachine(t)).machine.describeCpu())
  t.not(plain & tscAdjust, 0, 'this host has it')
  const { machine, components, file } = await aMachine(t, { template: withoutTscAdjust })
  const cpu = machine.describeCpu()
  t.is(leaf7(cpu), (plain & ~tscAdjust) >>> 0)
  const records = saveAll(components)
  rmSync(file)
  const restored = await aMachine(t, { options: { cpu } })
  t.is(leaf7(restored.machine.describeCpu()), plain)
  loadAll(restored.components, records)
  t.deepEqual(restored.machine.describeCpu(), cpu)
  restored.machine.components.reset()
  t.deepEqual(restored.machine.describeCpu(), cpu)
})

test('a template that cannot be had is refused in one line', async t => {
  const refused = (template: unknown, message: RegExp) =>
    t.throwsAsync(aMachine(t, { template }), { code: 'ERR_CPUS', message })
  const sgx = { leaf: '0x7', subleaf: '0x0', flags: 1, modifiers: [{ register: 'ebx', bitmap: '0b1xx' }] }
  await refused({ cpuid_modifiers: [sgx] }, /^--cpus: template: it asks for sgx, not there on this host$/)
  await refused({ msr_modifiers: [{ addr: '0x9999', bitmap: '0' }] }, /: this host has no MSR 0x9999$/)
  await refused({ kvm_capabilities: ['99999'] }, /: this host's KVM has not capability 99999$/)
  await refused({ kvm_capabilities: 3 }, /template\.json: kvm_capabilities: must be of type array$/)
})

test('a machine is made only where its CPU can be had, and what is missing is named', async t => {
  const cpu = (await aMachine(t)).machine.describeCpu()
  if (cpu.architecture !== 'x86_64') throw new Error(cpu.architecture)
  const greedy: CpuFingerprint = {
    ...{ ...cpu, physicalAddressBits: 52, counts: { 'AVX10 version': 9 } },
    cpuid: { ...cpu.cpuid, '0x7.0.ebx': '0xffffffff', '0x7.9.edx': '0x1' },
  }
  const { message } =
    (await t.throwsAsync(aMachine(t, { options: { cpu: greedy } }), { code: 'ERR_CPU_MISSING' })) ?? {}
  t.regex(message ?? '', /^this host cannot give the guest its CPU: .*sgx, .*intel_pt, .*0x7\.9\.edx bit 0; /)
  t.regex(message ?? '', /; physical address bits 52, this host has \d\d; AVX10 version 9, this host has 0$/)
  const foreign: CpuFingerprint = { architecture: 'aarch64' }
  await t.throwsAsync(aMachine(t, { options: { cpu: foreign } }), {
    code: 'ERR_CPU_MISSING',
    message: /it is of aarch64/,
  })
})

test('a machine has its devices where the CPU that it was saved with has the end of its addresses', async t => {
  const memoryOf = async ({ machine, place }: Awaited<ReturnType<typeof aMachine>>) => {
    await machine.load()
    const file = openSync(join(place, 'image'), 'w+')
    const writer = machine.ram.createImageWriter({ fd: file, form: 'image', level: 1, threads: 1 })
    await writer.write()
    writer.close()
    closeSync(file)
    // Firmware tables; behind them is what each machine has of its own.
    return readFileSync(join(place, 'image')).subarray(0xa0000, 0xee000)
  }
  const small = await aMachine(t, { addressBits: 36 })
  const cpu = small.machine.describeCpu()
  const tables = await memoryOf(small)
  t.false(tables.equals(await memoryOf(await aMachine(t))), 'they say where devices are')
  t.true(tables.equals(await memoryOf(await aMachine(t, { options: { cpu } }))))
})

test('a guest is told the brand of the CPU that it runs on', async t => {
  const { machine } = await aMachine(t)
  const [cpu] = cpus()
  t.is(Reflect.get(machine.describeCpu(), 'brand'), cpu?.model)
})
