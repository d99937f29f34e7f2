/**
 * The folder that this code was loaded from. A startup snapshot (src/cli/startup.ts) was made elsewhere, and says in the
 * process that begins with it where it is.
 */
export const bundleLocation = { folder: import.meta.dirname, isFromSnapshot: false }
