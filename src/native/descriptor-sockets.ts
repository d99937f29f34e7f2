/*
 * Stream sockets of the Unix domain over which descriptors come with the bytes (SCM_RIGHTS, unix(7)), each with a thread of its
 * own. Both classes keep the process alive until they are closed, and take over the descriptor that they are made of, also
 * where that throws.
 */

export interface DescriptorSocketOptions {
  readonly fd: number
  /** At most 15 bytes. */
  readonly threadName: string
  /**
   * The chunk that was asked for; one without bytes is the end. `descriptors` are the callee's to close; `isShort`: more came than
   * this process has room for.
   */
  onChunk(bytes: Uint8Array<ArrayBuffer>, descriptors: number[], isShort: boolean): void
  /** What `write` could not write at once is written. */
  onWritten(): void
  /** Nothing more is read, or written. */
  onFailure(error: Error): void
}

export interface NativeDescriptorSocket {
  /** One more chunk, of 64 KiB at most. */
  read(): void
  /**
   * True where all of it is written; else `onWritten` says when, and nothing may be written until then. `descriptors`, at most
   * 253, go with the first byte; they stay the caller's, who keeps them open until then.
   */
  write(bytes: Uint8Array, descriptors?: readonly number[]): boolean
  /** The peer reads to the end of what was written, and no further. */
  end(): void
  close(): void
}

export interface DescriptorListenerOptions {
  /** A socket that listens, or where to make one under the process's file mode creation mask. */
  readonly fd?: number
  readonly path?: string
  readonly threadName: string
  /** `fd` is the callee's: a socket that does not block. */
  onConnection(fd: number): void
}

export interface NativeDescriptorListener {
  /** The socket stays where it is in the file system. */
  close(): void
}
