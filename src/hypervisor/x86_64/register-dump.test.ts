import test from 'ava'
import { enterFlatProtectedMode, entryRegs } from './entry-state.ts'
import { formatRegisters } from './register-dump.ts'
import { kvmSregs } from './registers.ts'

test('a dump has every register in a few aligned lines', t => {
  const regs = entryRegs({ rip: 0x100_0190, rbx: 0x6000, rsi: 0, rsp: 0x8ff0 })
  const sregs = kvmSregs.encode({ apicBase: 0xfee0_0900n })
  enterFlatProtectedMode(sregs, 0x500, 0x520)
  const zero = '0000000000000000'
  const data = `0010 base ${zero} limit ffffffff type 3 dpl 0 db g`
  t.deepEqual(formatRegisters(regs, sregs).split('\n'), [
    'rip 0000000001000190 rsp 0000000000008ff0 flags 0000000000000002',
    `rax ${zero} rbx 0000000000006000 rcx ${zero} rdx ${zero}`,
    `rsi ${zero} rdi ${zero} rbp ${zero} r8  ${zero}`,
    `r9  ${zero} r10 ${zero} r11 ${zero} r12 ${zero}`,
    `r13 ${zero} r14 ${zero} r15 ${zero}`,
    `cr0 0000000000000011 cr2 ${zero} cr3 ${zero} cr4 ${zero}`,
    `cr8 ${zero} efer ${zero} apic 00000000fee00900`,
    `cs  0008 base ${zero} limit ffffffff type b dpl 0 db g`,
    ...['ds', 'es', 'fs', 'gs', 'ss'].map(name => `${name}  ${data}`),
    `tr  0018 base ${zero} limit 00000067 type b dpl 0`,
    `ldt 0000 base ${zero} limit 00000000 type 0 dpl 0`,
    `gdt      base 0000000000000500 limit 0000001f`,
    `idt      base 0000000000000520 limit 00000007`,
  ])
})
