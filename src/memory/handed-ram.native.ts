import { addon } from '../native/addon.ts'
import type { RamSource } from './ram-image.native.ts'

/**
 * RAM that another process of this host has, and will not touch any more once this one does: by a descriptor of each range, in their
 * order. They are the source's.
 */
export function handedRam(fds: readonly number[]): RamSource & Disposable {
  const left = [...fds]
  return {
    mappingOf: (_, sizeBytes, options) => {
      const memfd = left.shift()
      if (memfd === undefined) throw new RangeError('it has fewer ranges')
      try {
        return new (addon().Mapping)({ ...options, sizeBytes, backing: 'memfd', memfd })
      } finally {
        addon().closeDescriptor(memfd)
      }
    },
    [Symbol.dispose]: () => {
      for (const fd of left.splice(0)) addon().closeDescriptor(fd)
    },
  }
}
