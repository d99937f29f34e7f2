export type { VmConfig, VmConfigInput } from './config/vm-config.ts'
export { type ErrorCode, TsvmmError } from './util/errors.ts'
export type { VmState } from './vmm/requests.ts'
export { Vm, type VmEvents, type VmExit, type VmOptions, type WaitOptions } from './vmm/vm.ts'
