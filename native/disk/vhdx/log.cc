#include "disk/vhdx/log.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "sys/byte_order.h"
#include "sys/crc32c.h"

namespace tsvmm::vhdx {

namespace {

// Hyper-V's have 1 MiB.
constexpr uint64_t kMaximumLogLength = 64 * kMebibyte;
// Entries may claim to overlap: checking all of them must end.
constexpr uint64_t kMaximumPasses = 8;
constexpr uint64_t kMaximumFileSize = 2 * kMaximumDiskSize;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

ImageResult<LogReplay> LogReplay::read(const ImageFile& file, const Header& header) {
  LogReplay replay(header);
  if (header.log_guid == Guid{}) return replay;
  if (header.log_length > kMaximumLogLength) {
    return ImageError{"its log is too large: " + std::to_string(header.log_length) + " bytes"};
  }
  std::vector<std::byte> log(header.log_length);
  if (const int error = file.read(header.log_offset, log); error != 0) {
    return host_error("read the log", header.log_offset, error);
  }
  std::map<uint64_t, Entry> all;
  auto budget = kMaximumPasses * header.log_length;
  for (uint64_t start = 0; start < log.size(); start += kLogSector) {
    if (auto entry = replay.parse(log, start, budget)) all.emplace(start, std::move(*entry));
    if (budget == 0) return ImageError{"its log at " + hexadecimal(header.log_offset) + " is damaged"};
  }
  replay.choose(all);
  return replay;
}

// Nothing where no entry begins. `budget`: bytes that may still be looked at.
std::optional<LogReplay::Entry> LogReplay::parse(std::span<const std::byte> log, uint64_t start,
                                                 uint64_t& budget) const {
  const auto header = log.subspan(start, kEntryHeaderLength);
  const auto length = load_little_endian<uint32_t>(&header[kEntryLength]);
  const bool is_one = load_little_endian<uint32_t>(header.data()) == kLogEntrySignature &&
                      std::memcmp(&header[kEntryLogGuid], header_.log_guid.data(), header_.log_guid.size()) == 0 &&
                      length >= kLogSector && length <= log.size() && length % kLogSector == 0;
  if (!is_one) return {};
  budget -= std::min<uint64_t>(budget, length);
  std::vector<std::byte> bytes(length);
  const auto first = std::min<uint64_t>(length, log.size() - start);
  std::ranges::copy(log.subspan(start, first), bytes.begin());
  std::ranges::copy(log.first(length - first), bytes.begin() + static_cast<ptrdiff_t>(first));
  const auto checksum = load_little_endian<uint32_t>(&bytes[kChecksum]);
  store_little_endian<uint32_t>(&bytes[kChecksum], 0);
  if (crc32c(bytes) != checksum) return {};
  Entry entry{.length = length,
              .tail = load_little_endian<uint32_t>(&bytes[kEntryTail]),
              .sequence = load_little_endian<uint64_t>(&bytes[kEntrySequence]),
              .flushed_file_offset = load_little_endian<uint64_t>(&bytes[kEntryFlushedFileOffset]),
              .last_file_offset = load_little_endian<uint64_t>(&bytes[kEntryLastFileOffset]),
              .data = {},
              .zeroes = {}};
  if (entry.sequence == 0 || !parse_descriptors(bytes, entry)) return {};
  return entry;
}

// `bytes` are a whole entry.
bool LogReplay::parse_descriptors(std::span<const std::byte> bytes, Entry& entry) {
  const auto count = load_little_endian<uint32_t>(&bytes[kEntryDescriptors]);
  auto sector = round_up(kEntryHeaderLength + uint64_t{count} * kDescriptorLength, kLogSector);
  if (sector > bytes.size()) return false;
  for (uint32_t number = 0; number < count; ++number) {
    const auto descriptor = bytes.subspan(kEntryHeaderLength + number * kDescriptorLength, kDescriptorLength);
    const auto signature = load_little_endian<uint32_t>(descriptor.data());
    const auto offset = load_little_endian<uint64_t>(&descriptor[16]);
    if (load_little_endian<uint64_t>(&descriptor[24]) != entry.sequence) return false;
    if (signature == kZeroDescriptor) {
      entry.zeroes.emplace_back(offset, load_little_endian<uint64_t>(&descriptor[8]));
      continue;
    }
    if (signature != kDataDescriptor || sector + kLogSector > bytes.size()) return false;
    const auto data = bytes.subspan(sector, kLogSector);
    const auto sequence = uint64_t{load_little_endian<uint32_t>(&data[4])} << 32 |
                          load_little_endian<uint32_t>(&data[kLogSector - kTrailingBytes]);
    if (load_little_endian<uint32_t>(data.data()) != kDataSignature || sequence != entry.sequence) return false;
    std::vector<std::byte> content(data.begin(), data.end());
    std::memcpy(content.data(), &descriptor[8], kLeadingBytes);
    std::memcpy(&content[kLogSector - kTrailingBytes], &descriptor[4], kTrailingBytes);
    entry.data.push_back({offset, std::move(content)});
    sector += kLogSector;
  }
  return true;
}

// The active sequence (§2.3.3): entries that follow each other, from the tail that the last of them names, with the
// highest number.
void LogReplay::choose(const std::map<uint64_t, Entry>& all) {
  uint64_t newest = 0;
  for (const auto& [start, first] : all) {
    std::vector<const Entry*> sequence;
    std::vector<uint64_t> starts;
    auto place = start;
    auto number = first.sequence;
    for (auto found = all.find(place);
         found != all.end() && found->second.sequence == number && sequence.size() < all.size();
         found = all.find(place), ++number) {
      sequence.push_back(&found->second);
      starts.push_back(place);
      place = (place + found->second.length) % header_.log_length;
      if (found->second.sequence <= newest) continue;
      const auto tail = std::ranges::find(starts, found->second.tail);
      if (tail == starts.end()) continue;
      newest = found->second.sequence;
      entries_.clear();
      for (auto index = tail - starts.begin(); index < std::ssize(sequence); ++index) {
        entries_.push_back(*sequence[static_cast<size_t>(index)]);
      }
    }
  }
}

ImageResult<> LogReplay::carry_out(ImageFile& file) const {
  for (const auto& entry : entries_) {
    if (auto checked = check(entry, file.size()); !checked) return checked;
  }
  for (const auto& entry : entries_) {
    if (auto applied = apply(file, entry); !applied) return applied;
  }
  if (const int error = file.sync(); error != 0) return host_error("replay the log", header_.log_offset, error);
  return Unit{};
}

// Before anything of the file is changed.
ImageResult<> LogReplay::check(const Entry& entry, uint64_t file_size) const {
  if (entry.flushed_file_offset > file_size) {
    return ImageError{"is shorter than it was: " + std::to_string(file_size) + " bytes of " +
                      std::to_string(entry.flushed_file_offset)};
  }
  const auto end = std::max(entry.last_file_offset, file_size);
  const auto is_wrong = [&](uint64_t offset, uint64_t length) {
    const bool in_log = offset < header_.log_offset + header_.log_length && header_.log_offset < offset + length;
    return offset % kLogSector != 0 || length % kLogSector != 0 || offset < kMebibyte || offset > end ||
           length > end - offset || in_log;
  };
  const auto wrong = [&](uint64_t offset) {
    return ImageError{"its log has a change of " + hexadecimal(offset) + ", where it cannot have one"};
  };
  if (end > kMaximumFileSize) return wrong(end);
  for (const auto& [offset, bytes] : entry.data) {
    if (is_wrong(offset, bytes.size())) return wrong(offset);
  }
  for (const auto& [offset, length] : entry.zeroes) {
    if (is_wrong(offset, length)) return wrong(offset);
  }
  return Unit{};
}

ImageResult<> LogReplay::apply(ImageFile& file, const Entry& entry) {
  if (entry.last_file_offset > file.size()) {
    const int error = file.resize(entry.last_file_offset);
    if (error != 0) return host_error("extend the file", entry.last_file_offset, error);
  }
  for (const auto& [offset, length] : entry.zeroes) {
    const std::vector<std::byte> zeroes(std::min(length, kMebibyte));
    for (uint64_t done = 0; done < length; done += zeroes.size()) {
      const auto part = std::span(zeroes).first(std::min<uint64_t>(zeroes.size(), length - done));
      if (const int error = file.write(offset + done, part); error != 0) return host_error("write", offset, error);
    }
  }
  if (const int error = write_copies(file, entry.data); error != 0) return host_error("replay the log", 0, error);
  return Unit{};
}

int Log::write(std::span<const TableCache::Copy> changes) {
  // What does not fit into one entry goes in several, each of which leaves the tables consistent.
  const auto sectors = header_.log_length / kLogSector;
  const auto most = sectors - round_up(kEntryHeaderLength + sectors * kDescriptorLength, kLogSector) / kLogSector;
  if (!changes.empty() && header_.log_guid == Guid{}) {
    header_.log_guid = new_guid();
    if (const int error = write_header(file_, header_); error != 0) return error;
  }
  while (!changes.empty()) {
    const auto part = changes.first(std::min<size_t>(changes.size(), most));
    // The one before is in place for good: this one is all that there is to replay.
    if (const int error = file_.sync(); error != 0) return error;
    if (const int error = write_entry(part); error != 0) return error;
    if (const int error = file_.sync(); error != 0) return error;
    if (const int error = write_copies(file_, part); error != 0) return error;
    changes = changes.subspan(part.size());
  }
  return 0;
}

int Log::write_entry(std::span<const TableCache::Copy> changes) {
  const auto descriptors = round_up(kEntryHeaderLength + changes.size() * kDescriptorLength, kLogSector);
  std::vector<std::byte> entry(descriptors + changes.size() * kLogSector);
  if (entry.size() > header_.log_length - next_) next_ = 0;
  ++sequence_;
  store_little_endian(&entry[0], kLogEntrySignature);
  store_little_endian(&entry[kEntryLength], static_cast<uint32_t>(entry.size()));
  store_little_endian(&entry[kEntryTail], static_cast<uint32_t>(next_));
  store_little_endian(&entry[kEntrySequence], sequence_);
  store_little_endian(&entry[kEntryDescriptors], static_cast<uint32_t>(changes.size()));
  std::memcpy(&entry[kEntryLogGuid], header_.log_guid.data(), header_.log_guid.size());
  store_little_endian(&entry[kEntryFlushedFileOffset], file_.size());
  store_little_endian(&entry[kEntryLastFileOffset], file_.size());
  for (size_t number = 0; number < changes.size(); ++number) {
    const auto& [offset, bytes] = changes[number];
    auto* descriptor = &entry[kEntryHeaderLength + number * kDescriptorLength];
    store_little_endian(descriptor, kDataDescriptor);
    std::memcpy(descriptor + 4, &bytes[kLogSector - kTrailingBytes], kTrailingBytes);
    std::memcpy(descriptor + 8, bytes.data(), kLeadingBytes);
    store_little_endian(descriptor + 16, offset);
    store_little_endian(descriptor + 24, sequence_);
    auto* data = &entry[descriptors + number * kLogSector];
    std::memcpy(data, bytes.data(), kLogSector);
    store_little_endian(data, kDataSignature);
    store_little_endian(data + 4, static_cast<uint32_t>(sequence_ >> 32));
    store_little_endian(data + kLogSector - kTrailingBytes, static_cast<uint32_t>(sequence_));
  }
  store_little_endian(&entry[kChecksum], crc32c(entry));
  const int error = file_.write(header_.log_offset + next_, entry);
  next_ += entry.size();
  return error;
}

int Log::retire() {
  if (header_.log_guid == Guid{}) return 0;
  if (const int error = file_.sync(); error != 0) return error;
  header_.log_guid = {};
  next_ = 0;
  return write_header(file_, header_);
}

}  // namespace tsvmm::vhdx
