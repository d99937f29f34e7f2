/** The files and sockets that one run of the lab's machine is made of. */
export interface LabMachine {
  /** The program that emulates it. */
  readonly emulator: string
  readonly memoryMib: number
  readonly cpus: number
  /** QEMU's name of the processor model and its features. */
  readonly processor: string
  /** Emulates the processors side by side; otherwise in turns, on one core of the host. */
  readonly parallel: boolean
  readonly kernel: string
  /** Absent where the kernel has its drivers built in. */
  readonly initrd?: string
  readonly rootImage: string
  readonly runImage: string
  readonly modulesImage: string
  readonly fixturesImage: string
  readonly disks: readonly string[]
  readonly consoleLog: string
  readonly ports: LabPorts
}

/** The memory of a lab, and what emulating it takes. */
export const labBytes = 7 * 2 ** 30

/** Unix sockets that QEMU connects to, one for each port of virtio-serial. */
export interface LabPorts {
  readonly control: string
  readonly stdout: string
  readonly stderr: string
  /** Absent where the command gets no input. */
  readonly stdin?: string
}

/**
 * An emulated AMD processor with SVM and nested paging: what makes /dev/kvm real inside. What it is not:
 * - its time stamp counter is not said to be invariant: a lab that took it for its clock lost wake-ups, and guests in it
 *   stood still for minutes;
 * - it has no XSAVE, hence no AVX: the emulation does not tell KVM when a guest sets XCR0, which leaves guests with a
 *   state size that contradicts itself (a warning in each kernel log) and with AVX that faults.
 */
export const defaultProcessor = 'EPYC-Rome,+svm,+npt,-xsave,-xsaveopt,-xsavec,-xgetbv1,-xsaves,-avx,-avx2,-fma,-f16c'
const kernelArguments =
  'console=ttyS0 panic=-1 quiet mitigations=off transparent_hugepage=never random.trust_cpu=on root=/dev/vda rw init=/sbin/lab-init'

export function qemuArguments(machine: LabMachine): string[] {
  const throwaway = [machine.rootImage, machine.modulesImage, machine.fixturesImage, ...machine.disks]
  const [root, modules, ...others] = throwaway.map(file => `file=${escapeCommas(file)},format=raw,snapshot=on`)
  const run = `file=${escapeCommas(machine.runImage)},format=raw,cache=unsafe`
  return [
    ...['-M', 'q35', '-accel', `tcg,thread=${machine.parallel ? 'multi' : 'single'}`, '-cpu', machine.processor],
    ...['-m', `${machine.memoryMib}M`, '-smp', `${machine.cpus}`],
    ...['-display', 'none', '-no-reboot', '-nodefaults', '-no-user-config'],
    ...['-kernel', machine.kernel, ...(machine.initrd === undefined ? [] : ['-initrd', machine.initrd])],
    ...['-append', kernelArguments],
    ...['-serial', `file:${machine.consoleLog}`],
    // The order makes the names: vda, vdb and on.
    ...[root, run, modules, ...others].flatMap((drive, index) => disk(drive ?? '', index)),
    ...['-device', 'virtio-serial-pci'],
    ...port(1, machine.ports.control),
    ...port(2, machine.ports.stdout),
    ...port(3, machine.ports.stderr),
    ...(machine.ports.stdin === undefined ? [] : port(4, machine.ports.stdin)),
    ...['-device', 'virtio-rng-pci'],
  ]
}

function disk(drive: string, index: number): string[] {
  return ['-drive', `id=disk${index},if=none,${drive}`, '-device', `virtio-blk-pci,drive=disk${index}`]
}

function port(number: number, socket: string): string[] {
  return [
    ...['-chardev', `socket,id=port${number},path=${escapeCommas(socket)}`],
    ...['-device', `virtserialport,chardev=port${number},nr=${number}`],
  ]
}

/** In QEMU's options a comma is written twice. */
function escapeCommas(path: string): string {
  return path.replaceAll(',', ',,')
}
