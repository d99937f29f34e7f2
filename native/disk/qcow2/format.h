// What a qcow2 file is made of (QEMU, docs/interop/qcow2.rst). All numbers are big-endian.
#pragma once

#include <cstdint>

namespace tsvmm::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

// Offsets in the header.
inline constexpr uint32_t kVersion = 4;
inline constexpr uint32_t kBackingFileOffset = 8;
inline constexpr uint32_t kBackingFileSize = 16;
inline constexpr uint32_t kClusterBits = 20;
inline constexpr uint32_t kSize = 24;
inline constexpr uint32_t kCryptMethod = 32;
inline constexpr uint32_t kL1Size = 36;  // in entries
inline constexpr uint32_t kL1TableOffset = 40;
inline constexpr uint32_t kRefcountTableOffset = 48;
inline constexpr uint32_t kRefcountTableClusters = 56;
inline constexpr uint32_t kSnapshotCount = 60;
inline constexpr uint32_t kSnapshotsOffset = 64;
inline constexpr uint32_t kVersion2Length = 72;
inline constexpr uint32_t kIncompatibleFeatures = 72;
inline constexpr uint32_t kCompatibleFeatures = 80;
inline constexpr uint32_t kAutoclearFeatures = 88;
inline constexpr uint32_t kRefcountOrder = 96;
inline constexpr uint32_t kHeaderLength = 100;
inline constexpr uint32_t kVersion3Length = 104;
inline constexpr uint32_t kCompressionType = 104;

inline constexpr uint64_t kFeatureDirty = 1u << 0;
inline constexpr uint64_t kFeatureCorrupt = 1u << 1;
inline constexpr uint64_t kFeatureDataFile = 1u << 2;
inline constexpr uint64_t kFeatureCompressionType = 1u << 3;
inline constexpr uint64_t kFeatureExtendedL2 = 1u << 4;

inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;

// Entries of L1 and L2 tables.
inline constexpr uint64_t kCopied = 1ull << 63;      // its refcount is exactly 1
inline constexpr uint64_t kCompressed = 1ull << 62;  // L2
inline constexpr uint64_t kZero = 1ull << 0;         // L2, from version 3 on
inline constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;
// Bits that must be 0; kZero in version 2, too.
inline constexpr uint64_t kL1Reserved = 0x7f000000000001ff;
inline constexpr uint64_t kL2Reserved = 0x3f000000000001fe;
inline constexpr uint64_t kRefcountTableReserved = 0x1ff;

// What QEMU takes at most, too.
inline constexpr uint32_t kMinimumClusterBits = 9;
inline constexpr uint32_t kMaximumClusterBits = 21;
inline constexpr uint64_t kMaximumL1Bytes = 32u << 20;
inline constexpr uint64_t kMaximumRefcountTableBytes = 8u << 20;
inline constexpr uint32_t kMaximumRefcountOrder = 6;
inline constexpr uint32_t kMaximumSnapshots = 65536;
inline constexpr uint64_t kMaximumSnapshotTableBytes = 64u << 20;
inline constexpr uint32_t kMaximumBackingFileName = 1023;

// In the entries of the snapshot table.
inline constexpr uint32_t kSnapshotEntryLength = 40;
inline constexpr uint32_t kSnapshotL1TableOffset = 0;
inline constexpr uint32_t kSnapshotL1Size = 8;
inline constexpr uint32_t kSnapshotIdSize = 12;
inline constexpr uint32_t kSnapshotNameSize = 14;
inline constexpr uint32_t kSnapshotExtraSize = 36;

}  // namespace tsvmm::qcow2
