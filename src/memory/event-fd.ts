/** A kernel event counter that native threads and KVM signal and wait for. */
export interface EventFd {
  readonly fd: number
  signal(): void
  /** Whether it was signalled and nobody has consumed it; does not consume. */
  isPending(): boolean
  /** Consumes; true where there was something. */
  drain(): boolean
  close(): void
}
