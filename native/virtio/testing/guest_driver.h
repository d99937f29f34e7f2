// For tests: guest RAM between guard pages, and the driver's side of a split virtqueue in it.
#pragma once

#include <linux/virtio_config.h>
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/mapping.h"
#include "sys/event_fd.h"
#include "virtio/vring.h"

namespace tsvmm {

// Any access outside of it ends the test program.
class GuestRam {
 public:
  static constexpr uint64_t kGuard = 4096;

  GuestRam(uint64_t guest_address, uint64_t size) : GuestRam(guest_address, size, std::make_shared<GuestMemory>()) {}
  // A further range of the same guest.
  GuestRam(uint64_t guest_address, uint64_t size, std::shared_ptr<GuestMemory> memory)
      : address(guest_address), memory(std::move(memory)) {
    MappingOptions options;
    options.size = size + 2 * kGuard;
    mapping_ = Mapping::create(options).value();
    mprotect(mapping_->host(), kGuard, PROT_NONE);
    mprotect(mapping_->host() + kGuard + size, kGuard, PROT_NONE);
    host = mapping_->host() + kGuard;
    if (!this->memory->add({guest_address, size, host, mapping_})) std::abort();
  }

  template <typename T>
  T* at(uint64_t guest_address) const {
    return reinterpret_cast<T*>(host + (guest_address - address));
  }
  void write(uint64_t guest_address, std::string_view bytes) const {
    std::memcpy(at<char>(guest_address), bytes.data(), bytes.size());
  }
  std::string read(uint64_t guest_address, size_t length) const { return {at<char>(guest_address), length}; }

  const uint64_t address;
  std::byte* host;
  std::shared_ptr<GuestMemory> memory;

 private:
  std::shared_ptr<Mapping> mapping_;
};

struct GuestBuffer {
  uint64_t address;
  uint32_t length;
  bool writable = false;
};

class GuestDriver {
 public:
  // The rings lie at `rings`, a page each for small queues.
  GuestDriver(const GuestRam& ram, uint32_t size, uint64_t features, uint64_t rings, uint16_t position = 0)
      : ram_(ram), features_(features) {
    const uint64_t step = std::max<uint64_t>(4096, 16ull * size);
    layout = {size, rings, rings + step, rings + 2 * step, position, position};
    set_available_index(position);
    std::atomic_ref(used_ring()->idx).store(position);
    next_seen_ = position;
    for (uint32_t number = 0; number < size; ++number) free_.push_back(static_cast<uint16_t>(size - 1 - number));
    doorbell = std::make_shared<const EventFd>(EventFd::create().value());
    interrupt = std::make_shared<const EventFd>(EventFd::create().value());
  }

  Vring vring(uint16_t index) const { return {index, layout, doorbell, interrupt}; }
  Virtqueue queue() const { return Virtqueue::create(layout, ram_.memory, features_).value(); }

  vring_desc* descriptor(uint32_t index) const { return ram_.at<vring_desc>(layout.descriptor_table) + index; }
  vring_avail* available_ring() const { return ram_.at<vring_avail>(layout.available_ring); }
  vring_used* used_ring() const { return ram_.at<vring_used>(layout.used_ring); }

  void set_descriptor(uint32_t index, uint64_t address, uint32_t length, uint16_t flags, uint16_t next = 0) const {
    *descriptor(index) = {address, length, flags, next};
  }
  // Puts a head into the next slot and publishes it.
  void offer(uint16_t head) {
    const auto index = available_index();
    available_ring()->ring[index % layout.size] = head;
    set_available_index(static_cast<uint16_t>(index + 1));
  }
  uint16_t available_index() const { return std::atomic_ref(available_ring()->idx).load(); }
  void set_available_index(uint16_t index) const { std::atomic_ref(available_ring()->idx).store(index); }
  uint16_t used_index() const { return std::atomic_ref(used_ring()->idx).load(); }
  void set_used_event(uint16_t index) const { std::atomic_ref(available_ring()->ring[layout.size]).store(index); }
  uint16_t available_event() const {
    return std::atomic_ref(*ram_.at<uint16_t>(layout.used_ring + 4 + 8ull * layout.size)).load();
  }

  // A chain of free descriptors, not yet offered.
  uint16_t chain(std::span<const GuestBuffer> buffers) {
    std::vector<uint16_t> indices;
    for (size_t number = 0; number < buffers.size(); ++number) {
      if (free_.empty()) std::abort();
      indices.push_back(free_.back());
      free_.pop_back();
    }
    for (size_t number = 0; number < buffers.size(); ++number) {
      const bool last = number + 1 == buffers.size();
      const auto flags = (buffers[number].writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
      set_descriptor(indices[number], buffers[number].address, buffers[number].length, static_cast<uint16_t>(flags),
                     last ? 0 : indices[number + 1]);
    }
    return indices.front();
  }
  uint16_t add(std::initializer_list<GuestBuffer> buffers) {
    const auto head = chain({buffers.begin(), buffers.size()});
    offer(head);
    return head;
  }
  // One indirect descriptor to a table at `table`.
  uint16_t add_indirect(uint64_t table, std::span<const GuestBuffer> buffers) {
    for (size_t number = 0; number < buffers.size(); ++number) {
      const bool last = number + 1 == buffers.size();
      const auto flags = (buffers[number].writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
      const vring_desc entry{buffers[number].address, buffers[number].length, static_cast<uint16_t>(flags),
                             static_cast<uint16_t>(number + 1)};
      std::memcpy(ram_.at<char>(table) + number * sizeof(entry), &entry, sizeof(entry));
    }
    const auto head = free_.back();
    free_.pop_back();
    set_descriptor(head, table, static_cast<uint32_t>(16 * buffers.size()), VRING_DESC_F_INDIRECT);
    offer(head);
    return head;
  }

  // The next used element; its descriptors are free again.
  bool take_used(vring_used_elem& element) {
    if (used_index() == next_seen_) return false;
    element = used_ring()->ring[next_seen_ % layout.size];
    ++next_seen_;
    if ((features_ & kFeatureEventIndex) != 0) set_used_event(next_seen_);
    for (auto index = static_cast<uint16_t>(element.id);;) {
      const auto entry = *descriptor(index);
      free_.push_back(index);
      if ((entry.flags & VRING_DESC_F_NEXT) == 0) break;
      index = entry.next;
    }
    return true;
  }
  // Rings the doorbell and waits for a used element, at most 10 s.
  bool kick_and_wait(vring_used_elem& element) {
    doorbell->signal();
    return wait_used(element);
  }
  bool wait_used(vring_used_elem& element) {
    for (;;) {
      if (take_used(element)) return true;
      pollfd event{interrupt->get(), POLLIN, 0};
      if (::poll(&event, 1, 10'000) != 1) return take_used(element);
      interrupt->drain();
    }
  }

  VringLayout layout;
  std::shared_ptr<const EventFd> doorbell;
  std::shared_ptr<const EventFd> interrupt;

 private:
  const GuestRam& ram_;
  uint64_t features_;
  std::vector<uint16_t> free_;
  uint16_t next_seen_ = 0;
};

}  // namespace tsvmm
