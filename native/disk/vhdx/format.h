// What a VHDX file is made of ([MS-VHDX]). All numbers are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tsvmm::vhdx {

using Guid = std::array<uint8_t, 16>;

inline constexpr uint64_t kMebibyte = 1u << 20;
inline constexpr uint64_t kFileSignature = 0x656c696678646876;  // "vhdxfile"

// Headers (§2.2.2): two, the one with the larger sequence number counts.
inline constexpr std::array<uint64_t, 2> kHeaderOffsets{64u << 10, 128u << 10};
inline constexpr size_t kHeaderLength = 4096;
inline constexpr uint32_t kHeaderSignature = 0x64616568;  // "head"
inline constexpr size_t kChecksum = 4;                    // in headers, region tables and log entries: CRC-32C
inline constexpr size_t kHeaderSequence = 8;
inline constexpr size_t kHeaderFileWriteGuid = 16;
inline constexpr size_t kHeaderDataWriteGuid = 32;
inline constexpr size_t kHeaderLogGuid = 48;
inline constexpr size_t kHeaderLogVersion = 64;
inline constexpr size_t kHeaderVersion = 66;
inline constexpr size_t kHeaderLogLength = 68;
inline constexpr size_t kHeaderLogOffset = 72;

// Region tables (§2.2.3): two of the same.
inline constexpr std::array<uint64_t, 2> kRegionTableOffsets{192u << 10, 256u << 10};
inline constexpr size_t kRegionTableLength = 64u << 10;
inline constexpr uint32_t kRegionTableSignature = 0x69676572;  // "regi"
inline constexpr size_t kRegionCount = 8;
inline constexpr size_t kRegionEntries = 16;
inline constexpr size_t kRegionEntryLength = 32;  // GUID, u64 offset, u32 length, u32 required
inline constexpr uint32_t kMaximumRegions = 2047;
inline constexpr Guid kBatRegion{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
inline constexpr Guid kMetadataRegion{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                      0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};

// The metadata table (§2.6).
inline constexpr uint64_t kMetadataSignature = 0x617461646174656d;  // "metadata"
inline constexpr size_t kMetadataTableLength = 64u << 10;
inline constexpr size_t kMetadataCount = 10;
inline constexpr size_t kMetadataEntries = 32;
inline constexpr size_t kMetadataEntryLength = 32;  // GUID, u32 offset, u32 length, u32 flags
inline constexpr uint32_t kMaximumMetadataItems = 2047;
inline constexpr uint32_t kItemIsRequired = 1u << 2;
inline constexpr Guid kFileParameters{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                      0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
inline constexpr Guid kDiskSize{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
inline constexpr Guid kPage83Data{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                                  0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
inline constexpr Guid kLogicalSectorSize{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                         0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
inline constexpr Guid kPhysicalSectorSize{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                          0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
inline constexpr uint32_t kHasParent = 1u << 1;  // in the file parameters
inline constexpr uint64_t kMaximumDiskSize = uint64_t{64} << 40;
inline constexpr uint64_t kMaximumBlockSize = 256 * kMebibyte;

// Entries of the block allocation table (§2.5.1).
inline constexpr uint64_t kBlockState = 7;
inline constexpr uint64_t kBlockReserved = 0xffff8;
inline constexpr uint64_t kFullyPresent = 6;
inline constexpr uint64_t kPartiallyPresent = 7;
// A chunk's payload blocks are followed by the entry of its sector bitmap: sectors of a chunk.
inline constexpr uint64_t kChunkSectors = uint64_t{1} << 23;

// The log (§2.3), in sectors of 4 KiB: entries of a header with descriptors, then a data sector for each of these that
// has data.
inline constexpr size_t kLogSector = 4096;
inline constexpr uint32_t kLogEntrySignature = 0x65676f6c;  // "loge"
inline constexpr size_t kEntryLength = 8;
inline constexpr size_t kEntryTail = 12;
inline constexpr size_t kEntrySequence = 16;
inline constexpr size_t kEntryDescriptors = 24;
inline constexpr size_t kEntryLogGuid = 32;
inline constexpr size_t kEntryFlushedFileOffset = 48;
inline constexpr size_t kEntryLastFileOffset = 56;
inline constexpr size_t kEntryHeaderLength = 64;
inline constexpr size_t kDescriptorLength = 32;
inline constexpr uint32_t kZeroDescriptor = 0x6f72657a;  // "zero": u32, u32, u64 length, u64 offset, u64 sequence
inline constexpr uint32_t kDataDescriptor =
    0x63736564;  // "desc": u32, u32 trailing, u64 leading, u64 offset, u64 sequence
inline constexpr uint32_t kDataSignature = 0x61746164;  // "data": u32, u32 sequence's high half, 4084 bytes, low half
inline constexpr size_t kLeadingBytes = 8;
inline constexpr size_t kTrailingBytes = 4;

}  // namespace tsvmm::vhdx
