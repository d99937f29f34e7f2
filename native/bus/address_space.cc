#include "bus/address_space.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace tsvmm {

namespace {

using Read = RegisterSpan::Read;
using Write = RegisterSpan::Write;

void count(std::atomic<uint64_t>& counter) {
  // One writer: no read-modify-write needed.
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// One piece of an access. `span` is nullptr where no span covers it, `placement` where no window does.
struct Piece {
  const Placement* placement;
  const RegisterSpan* span;
  uint32_t offset;
  uint32_t width;
};

const RegisterSpan* span_at(const std::vector<RegisterSpan>& spans, uint32_t offset) {
  auto place = std::ranges::upper_bound(spans, offset, {}, &RegisterSpan::offset);
  if (place == spans.begin()) return nullptr;
  --place;
  return offset - place->offset < place->length ? &*place : nullptr;
}

uint32_t next_span_offset(const std::vector<RegisterSpan>& spans, uint32_t offset, uint32_t window_size) {
  const auto place = std::ranges::upper_bound(spans, offset, {}, &RegisterSpan::offset);
  return place == spans.end() ? window_size : place->offset;
}

// The largest of 1, 2 and 4 that is not more than `limit`.
uint32_t piece_width(uint64_t limit) { return limit >= 4 ? 4 : limit >= 2 ? 2 : 1; }

// Calls visit(position in the access, piece) for each piece in ascending order.
template <typename Visit>
void for_each_piece(const WindowTable& table, uint64_t address, uint64_t length, Visit&& visit) {
  uint64_t position = 0;
  while (position < length) {
    const auto remaining = length - position;
    const auto* placement = table.find(address + position);
    if (placement == nullptr) {
      const auto width = piece_width(std::min(remaining, table.gap_at(address + position)));
      visit(position, Piece{nullptr, nullptr, 0, width});
      position += width;
      continue;
    }
    const auto& window = *placement->window;
    const auto spans = window.spans();
    const auto offset = static_cast<uint32_t>(address + position - placement->address);
    const auto* span = span_at(*spans, offset);
    const auto end = span != nullptr ? span->offset + span->length : next_span_offset(*spans, offset, window.size());
    const auto width = piece_width(std::min<uint64_t>(remaining, end - offset));
    visit(position, Piece{placement, span, offset, width});
    position += width;
  }
}

uint32_t width_mask(uint32_t width) { return width == 4 ? UINT32_MAX : (1u << (8 * width)) - 1; }

// `position` counts from the begin of what the mask is for.
uint32_t span_mask(const RegisterSpan& span, uint32_t position, uint32_t width) {
  if (span.mask.empty()) return width_mask(width);
  uint32_t mask = 0;
  for (uint32_t index = 0; index < width; ++index) {
    mask |= uint32_t{span.mask[position + index]} << (8 * index);
  }
  return mask;
}

uint32_t clock_value(Window& window, const RegisterSpan& span, uint32_t offset) {
  auto ticks = window.clock().ticks(span.clock_hertz);
  if (span.clock_bits < 64) ticks &= (uint64_t{1} << span.clock_bits) - 1;
  const auto shift = 8 * (offset - span.offset);
  return shift < 64 ? static_cast<uint32_t>(ticks >> shift) : 0;
}

// The byte of the ECAM that CONFIG_ADDRESS, the window's first register, and the access name: PCI Local Bus 3.0
// §3.2.2.3.2 (enable bit, bus, device and function, register) and PCI Express 3.0 §7.2.2.
std::optional<uint64_t> ecam_address(const Piece& piece) {
  const auto selected = piece.placement->window->load(0, sizeof(uint32_t));
  const auto bus = (selected >> 16) & 0xff;
  if ((selected & 0x8000'0000) == 0 || bus >= piece.span->ecam_buses) return {};
  const auto function = (selected >> 8) & 0xffff;
  return piece.span->ecam_address + (uint64_t{function} << 12) + (selected & 0xfc) +
         (piece.offset - piece.span->offset);
}

// Which word of its table an indexed span answers with. Whole words only: the 82093AA has no others (§3.1.2).
std::optional<uint32_t> table_position(const Piece& piece) {
  const auto index = piece.placement->window->load(0, 1);
  if (piece.width != sizeof(uint32_t) || index >= piece.span->table_entries) return {};
  return index * uint32_t{sizeof(uint32_t)};
}

// Whether a write changes what a read answers, of the bits that can be.
bool changes(const Piece& piece, uint32_t value) {
  const auto& span = *piece.span;
  const auto& window = *piece.placement->window;
  if (span.read != Read::kIndexed) {
    const auto mask = span_mask(span, piece.offset - span.offset, piece.width);
    return ((window.load(piece.offset, piece.width) ^ value) & mask) != 0;
  }
  const auto position = table_position(piece);
  if (!position) return false;
  return ((window.load(span.table_offset + *position, piece.width) ^ value) &
          span_mask(span, *position, piece.width)) != 0;
}

uint32_t read_piece(const Piece& piece, TrapSink& sink, AccessCounters& counters, const WindowTable* memory) {
  if (piece.placement == nullptr) {
    count(counters.unmapped);
    return UINT32_MAX;
  }
  if (piece.span == nullptr) {
    count(counters.ignored);
    return UINT32_MAX;
  }
  auto& window = *piece.placement->window;
  switch (piece.span->read) {
    case Read::kBytes:
      count(counters.bytes);
      return window.load(piece.offset, piece.width);
    case Read::kClock:
      count(counters.clock);
      return clock_value(window, *piece.span, piece.offset);
    case Read::kEcam: {
      uint32_t value = UINT32_MAX;
      const auto address = ecam_address(piece);
      if (memory == nullptr || !address) return value;
      std::array<uint8_t, sizeof value> data{};
      access_read(*memory, *address, std::span(data).first(piece.width), sink, counters);
      std::memcpy(&value, data.data(), sizeof value);
      return value;
    }
    case Read::kIndexed: {
      count(counters.bytes);
      const auto position = table_position(piece);
      return position ? window.load(piece.span->table_offset + *position, piece.width) : 0;
    }
    case Read::kTrap:
      break;
  }
  count(counters.trapped);
  return sink.read(window, piece.offset, piece.width);
}

void write_piece(const Piece& piece, uint32_t value, TrapSink& sink, AccessCounters& counters,
                 const WindowTable* memory) {
  if (piece.placement == nullptr) return count(counters.unmapped);
  if (piece.span == nullptr) return count(counters.ignored);
  auto& window = *piece.placement->window;
  switch (piece.span->write) {
    case Write::kBytes:
      count(counters.bytes);
      return window.store(piece.offset, piece.width, value,
                          span_mask(*piece.span, piece.offset - piece.span->offset, piece.width));
    case Write::kPost:
      count(counters.posted);
      return sink.post(window, piece.offset, piece.width, value);
    case Write::kIgnore:
      return count(counters.ignored);
    case Write::kEcam: {
      const auto address = ecam_address(piece);
      if (memory == nullptr || !address) return;
      std::array<uint8_t, sizeof value> data{};
      std::memcpy(data.data(), &value, sizeof value);
      return access_write(*memory, *address, std::span(data).first(piece.width), sink, counters);
    }
    case Write::kChange:
      if (!changes(piece, value)) return count(counters.ignored);
      break;
    case Write::kTrap:
      break;
  }
  count(counters.trapped);
  sink.write(window, piece.offset, piece.width, value);
}

}  // namespace

const Placement* WindowTable::find(uint64_t address) const {
  auto place = std::ranges::upper_bound(placements_, address, {}, &Placement::address);
  if (place == placements_.begin()) return nullptr;
  --place;
  return address - place->address < place->window->size() ? &*place : nullptr;
}

uint64_t WindowTable::gap_at(uint64_t address) const {
  const auto place = std::ranges::upper_bound(placements_, address, {}, &Placement::address);
  return place == placements_.end() ? UINT64_MAX : place->address - address;
}

Result<> AddressSpace::place(std::vector<Placement> placements, Placement placement) {
  const auto first = placement.address;
  const auto last = first + (placement.window->size() - 1);
  if (last < first) return Failure{EINVAL, "map window"};
  for (const auto& other : placements) {
    if (first <= other.address + (other.window->size() - 1) && other.address <= last) {
      return Failure{EEXIST, "map window"};
    }
  }
  const auto position = std::ranges::upper_bound(placements, first, {}, &Placement::address);
  placements.insert(position, std::move(placement));
  table_ = std::make_shared<WindowTable>(std::move(placements));
  generation_.fetch_add(1, std::memory_order_release);
  return Unit{};
}

Result<> AddressSpace::add(uint64_t address, std::shared_ptr<Window> window) {
  std::lock_guard lock(mutex_);
  return place(table_->placements(), Placement{address, std::move(window)});
}

Result<> AddressSpace::move(const Window& window, uint64_t address) {
  std::lock_guard lock(mutex_);
  auto placements = table_->placements();
  const auto found = std::ranges::find(placements, &window, [](const Placement& one) { return one.window.get(); });
  if (found == placements.end()) return Failure{ENOENT, "move window"};
  Placement moved{address, std::move(found->window)};
  placements.erase(found);
  return place(std::move(placements), std::move(moved));
}

void AddressSpace::remove(const Window& window) {
  std::lock_guard lock(mutex_);
  auto placements = table_->placements();
  std::erase_if(placements, [&](const Placement& one) { return one.window.get() == &window; });
  table_ = std::make_shared<WindowTable>(std::move(placements));
  generation_.fetch_add(1, std::memory_order_release);
}

std::shared_ptr<const WindowTable> AddressSpace::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

void access_read(const WindowTable& table, uint64_t address, std::span<uint8_t> data, TrapSink& sink,
                 AccessCounters& counters, const WindowTable* memory) {
  for_each_piece(table, address, data.size(), [&](uint64_t position, const Piece& piece) {
    const auto value = read_piece(piece, sink, counters, memory);
    for (uint32_t index = 0; index < piece.width; ++index) {
      data[position + index] = static_cast<uint8_t>(value >> (8 * index));
    }
  });
}

void access_write(const WindowTable& table, uint64_t address, std::span<const uint8_t> data, TrapSink& sink,
                  AccessCounters& counters, const WindowTable* memory) {
  for_each_piece(table, address, data.size(), [&](uint64_t position, const Piece& piece) {
    uint32_t value = 0;
    for (uint32_t index = 0; index < piece.width; ++index) {
      value |= uint32_t{data[position + index]} << (8 * index);
    }
    write_piece(piece, value, sink, counters, memory);
  });
}

}  // namespace tsvmm
