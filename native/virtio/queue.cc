#include "virtio/queue.h"

#define VIRTIO_RING_NO_LEGACY  // the legacy part is no C++
#include <linux/virtio_ring.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

namespace tsvmm {

namespace {

static_assert(std::endian::native == std::endian::little, "rings are little-endian (virtio 1.2 §2.7)");

constexpr uint32_t kMaximumQueueSize = 32768;
// A chain is at most as long as the queue (§2.7.5.3.1), but drivers are known to use longer indirect tables where the
// device's own limits (seg_max) allow; all of them stay below this.
constexpr uint32_t kMinimumChainLimit = 1024;
constexpr uint64_t kMaximumChainBytes = UINT32_MAX;

// Offsets in the available and used rings (§2.7.6, §2.7.8).
constexpr size_t kFlags = 0;
constexpr size_t kIndex = 2;
constexpr size_t kRing = 4;

uint64_t table_bytes(uint32_t size) { return sizeof(vring_desc) * uint64_t{size}; }
uint64_t available_bytes(uint32_t size) { return kRing + 2ull * size + 2; }
uint64_t used_bytes(uint32_t size) { return kRing + sizeof(vring_used_elem) * uint64_t{size} + 2; }

// SAFETY: callers pass aligned addresses inside a ring area that resolve_rings() has checked.
template <typename T>
T load(const std::byte* at, std::memory_order order = std::memory_order_relaxed) {
  return std::atomic_ref(*reinterpret_cast<T*>(const_cast<std::byte*>(at))).load(order);
}

template <typename T>
void store(std::byte* at, T value, std::memory_order order = std::memory_order_relaxed) {
  std::atomic_ref(*reinterpret_cast<T*>(at)).store(value, order);
}

// A store before is visible before a load after.
void full_barrier() {
#if defined(__SANITIZE_THREAD__)
  // The sanitizer knows no fences.
  static std::atomic<int> barrier;
  barrier.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

// What is known while one chain is walked.
struct Virtqueue::Walk {
  Chain& chain;
  uint64_t total_bytes = 0;
  bool writable_seen = false;
};

Result<Virtqueue> Virtqueue::create(const VringLayout& layout, std::shared_ptr<const GuestMemory> memory,
                                    uint64_t features) {
  if (layout.size == 0 || layout.size > kMaximumQueueSize || !std::has_single_bit(layout.size)) {
    return Failure{ERANGE, "the queue size is not a power of two up to 32768"};
  }
  if (layout.descriptor_table % 16 != 0) return Failure{ERANGE, "the descriptor table is not aligned to 16 bytes"};
  if (layout.available_ring % 2 != 0) return Failure{ERANGE, "the available ring is not aligned to 2 bytes"};
  if (layout.used_ring % 4 != 0) return Failure{ERANGE, "the used ring is not aligned to 4 bytes"};
  Virtqueue queue(layout, std::move(memory), features);
  if (const char* reason = queue.resolve_rings(); reason != nullptr) return Failure{ERANGE, reason};
  return queue;
}

const char* Virtqueue::resolve_rings() {
  descriptors_ = map_->at(layout_.descriptor_table, table_bytes(layout_.size));
  if (descriptors_ == nullptr) return "the descriptor table is not in one run of guest memory";
  available_ = map_->at(layout_.available_ring, available_bytes(layout_.size));
  if (available_ == nullptr) return "the available ring is not in one run of guest memory";
  used_ = map_->at(layout_.used_ring, used_bytes(layout_.size));
  if (used_ == nullptr) return "the used ring is not in one run of guest memory";
  return nullptr;
}

void Virtqueue::adopt_memory() {
  auto map = memory_->map();
  if (map == map_) return;
  retired_.push_back(std::exchange(map_, std::move(map)));
  recent_ = {};
  // On failure the old pointers stay: their memory is in retired_, and nobody follows them after fail().
  auto* descriptors = descriptors_;
  auto* available = available_;
  auto* used = used_;
  if (const char* reason = resolve_rings(); reason != nullptr) {
    descriptors_ = descriptors;
    available_ = available;
    used_ = used;
    map_ = retired_.back();
    fail(reason);
  }
}

Virtqueue::Pop Virtqueue::fail(const char* reason) {
  failure_ = reason;
  return Pop::kBroken;
}

bool Virtqueue::look_for_available() {
  // Acquire: the ring entry and the descriptors were written before the index.
  const auto limit = load<uint16_t>(available_ + kIndex, std::memory_order_acquire);
  if (static_cast<uint16_t>(limit - layout_.next_available) > layout_.size) {
    fail("the available index runs ahead by more than the queue size");
    return true;
  }
  available_limit_ = limit;
  return limit != layout_.next_available;
}

bool Virtqueue::has_available() {
  if (failure_ != nullptr) return false;
  return available_limit_ != layout_.next_available || look_for_available();
}

Virtqueue::Pop Virtqueue::pop(Chain& chain) {
  if (failure_ != nullptr) return Pop::kBroken;
  if (available_limit_ == layout_.next_available && !look_for_available()) return Pop::kEmpty;
  if (failure_ != nullptr) return Pop::kBroken;
  const auto slot = layout_.next_available & (layout_.size - 1);
  const auto head = load<uint16_t>(available_ + kRing + 2 * slot);
  if (const char* reason = walk(chain, head); reason != nullptr) return fail(reason);
  ++layout_.next_available;
  return Pop::kChain;
}

Virtqueue::Descriptor Virtqueue::load_descriptor(const std::byte* table, uint32_t index) {
  const auto* at = table + sizeof(vring_desc) * index;
  Descriptor descriptor;
  static_assert(sizeof(descriptor) == sizeof(vring_desc));
  uint64_t words[2];
  if (reinterpret_cast<uintptr_t>(at) % sizeof(uint64_t) == 0) {
    words[0] = load<uint64_t>(at);
    words[1] = load<uint64_t>(at + sizeof(uint64_t));
  } else {
    // Only an indirect table, which has no alignment of its own, can come here.
    uint8_t bytes[sizeof(words)];
    for (size_t number = 0; number < sizeof(bytes); ++number) bytes[number] = load<uint8_t>(at + number);
    std::memcpy(words, bytes, sizeof(words));
  }
  std::memcpy(&descriptor, words, sizeof(descriptor));
  return descriptor;
}

const char* Virtqueue::walk(Chain& chain, uint16_t head) {
  if (head >= layout_.size) return "a chain's head is outside the descriptor table";
  chain.clear(head);
  Walk state{chain};
  uint32_t index = head;
  // More steps than descriptors mean that one was met twice.
  for (uint32_t steps = 0; steps < layout_.size; ++steps) {
    const auto descriptor = load_descriptor(descriptors_, index);
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) return walk_indirect(state, descriptor);
    if (const char* reason = add_descriptor(state, descriptor); reason != nullptr) return reason;
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return nullptr;
    if (descriptor.next >= layout_.size) return "a descriptor's next is outside the descriptor table";
    index = descriptor.next;
  }
  return "a descriptor chain loops";
}

// An indirect descriptor ends its chain (§2.7.5.3.1); its own write flag means nothing (§2.7.5.3.2).
const char* Virtqueue::walk_indirect(Walk& state, const Descriptor& reference) {
  if (!indirect_) return "an indirect descriptor although the feature was not negotiated";
  if ((reference.flags & VRING_DESC_F_NEXT) != 0) return "an indirect descriptor with a next one";
  if (reference.length == 0 || reference.length % sizeof(vring_desc) != 0) {
    return "an indirect table whose length is not a multiple of 16";
  }
  const auto count = reference.length / static_cast<uint32_t>(sizeof(vring_desc));
  if (count > std::max(layout_.size, kMinimumChainLimit)) return "an indirect table that is too long";
  const auto* table = map_->at(reference.address, reference.length);
  if (table == nullptr && memory_changed()) {
    adopt_memory();
    if (failure_ != nullptr) return failure_;
    table = map_->at(reference.address, reference.length);
  }
  if (table == nullptr) return "an indirect table outside guest memory";
  uint32_t index = 0;
  for (uint32_t steps = 0; steps < count; ++steps) {
    const auto descriptor = load_descriptor(table, index);
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) return "an indirect descriptor inside an indirect table";
    if (const char* reason = add_descriptor(state, descriptor); reason != nullptr) return reason;
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return nullptr;
    if (descriptor.next >= count) return "a descriptor's next is outside its indirect table";
    index = descriptor.next;
  }
  return "an indirect descriptor chain loops";
}

const char* Virtqueue::add_descriptor(Walk& state, const Descriptor& descriptor) {
  auto& chain = state.chain;
  const bool writable = (descriptor.flags & VRING_DESC_F_WRITE) != 0;
  if (!writable && state.writable_seen) return "a readable descriptor behind a writable one";
  state.writable_seen = writable;
  // Legal, and nothing: its address need not mean anything.
  if (descriptor.length == 0) return nullptr;
  state.total_bytes += descriptor.length;
  if (state.total_bytes > kMaximumChainBytes) return "a descriptor chain of 4 GiB or more";
  if (!add_pieces(chain, descriptor.address, descriptor.length)) {
    if (failure_ != nullptr) return failure_;
    return "a buffer outside guest memory";
  }
  if (writable) {
    chain.writable_bytes += descriptor.length;
  } else {
    chain.readable_bytes += descriptor.length;
    chain.readable_pieces = chain.pieces.size();
  }
  return nullptr;
}

bool Virtqueue::add_pieces(Chain& chain, uint64_t address, uint64_t length) {
  const auto offset = address - recent_.guest_address;
  if (address >= recent_.guest_address && offset < recent_.size && length <= recent_.size - offset) {
    chain.pieces.push_back({recent_.host + offset, length});
    chain.ranges.push_back({address, length});
    return true;
  }
  const auto add = [&] {
    return map_->for_each(address, length, [&, at = address](std::span<std::byte> piece) mutable {
      chain.pieces.push_back({piece.data(), piece.size()});
      chain.ranges.push_back({at, piece.size()});
      at += piece.size();
    });
  };
  if (!add()) {
    if (!memory_changed()) return false;
    adopt_memory();
    if (failure_ != nullptr || !add()) return false;
  }
  for (const auto& range : map_->ranges()) {
    // SAFETY: copied without its mapping; map_ keeps that alive, and recent_ is cleared when map_ changes.
    if (address >= range.guest_address && address - range.guest_address < range.size) {
      recent_ = {range.guest_address, range.size, range.host, nullptr};
    }
  }
  return true;
}

void Virtqueue::push(uint16_t head, uint32_t written) {
  auto* element = used_ + kRing + sizeof(vring_used_elem) * (pushed_ & (layout_.size - 1));
  store<uint32_t>(element, head);
  store<uint32_t>(element + sizeof(uint32_t), written);
  ++pushed_;
}

bool Virtqueue::publish() {
  const auto old_index = layout_.next_used;
  const auto new_index = pushed_;
  if (old_index == new_index) return false;
  // Release: buffers and elements before the index (§2.7.8.2).
  store<uint16_t>(used_ + kIndex, new_index, std::memory_order_release);
  layout_.next_used = new_index;
  mark_elements(old_index, new_index);
  mark_written(layout_.used_ring, kRing);
  // The index must be visible before the driver's wish is read: it looks at them in the other order.
  full_barrier();
  if (!event_index_) return (load<uint16_t>(available_ + kFlags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  const auto used_event = load<uint16_t>(available_ + kRing + 2ull * layout_.size);
  // Nobody knows what was signalled before a start, so the first one always is.
  if (!std::exchange(interrupted_before_, true)) return true;
  return static_cast<uint16_t>(new_index - used_event - 1) < static_cast<uint16_t>(new_index - old_index);
}

void Virtqueue::mark_elements(uint16_t from, uint16_t to) const {
  const uint64_t count = static_cast<uint16_t>(to - from);
  const uint64_t first = from & (layout_.size - 1);
  const auto before_wrap = std::min(count, layout_.size - first);
  const auto ring = layout_.used_ring + kRing;
  mark_written(ring + sizeof(vring_used_elem) * first, sizeof(vring_used_elem) * before_wrap);
  mark_written(ring, sizeof(vring_used_elem) * (count - before_wrap));
}

void Virtqueue::mark_written(const Chain& chain, uint64_t bytes) const {
  for (size_t number = chain.readable_pieces; number < chain.ranges.size() && bytes != 0; ++number) {
    const auto part = std::min(bytes, chain.ranges[number].length);
    mark_written(chain.ranges[number].address, part);
    bytes -= part;
  }
}

void Virtqueue::disable_notifications() {
  // With the event index it is enough not to move the event: the driver notifies when its index passes it (§2.7.10).
  if (event_index_ || failure_ != nullptr) return;
  store<uint16_t>(used_ + kFlags, VRING_USED_F_NO_NOTIFY);
  mark_written(layout_.used_ring + kFlags, sizeof(uint16_t));
}

bool Virtqueue::enable_notifications() {
  if (failure_ != nullptr) return false;
  if (event_index_) {
    const auto event = kRing + sizeof(vring_used_elem) * uint64_t{layout_.size};
    store<uint16_t>(used_ + event, layout_.next_available);
    mark_written(layout_.used_ring + event, sizeof(uint16_t));
  } else {
    store<uint16_t>(used_ + kFlags, 0);
    mark_written(layout_.used_ring + kFlags, sizeof(uint16_t));
  }
  // The wish must be visible before the index is read again: the driver writes its index, then looks at the wish.
  full_barrier();
  return has_available();
}

}  // namespace tsvmm
