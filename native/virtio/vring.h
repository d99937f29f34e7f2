// A virtqueue as the device negotiated it, and where it stands.
#pragma once

#include <cstdint>
#include <memory>

#include "sys/event_fd.h"
#include "virtio/queue.h"

namespace tsvmm {

struct Vring {
  uint16_t index = 0;  // in the device
  VringLayout layout;
  std::shared_ptr<const EventFd> doorbell;
  std::shared_ptr<const EventFd> interrupt;
};

struct VringPosition {
  uint16_t index;
  uint16_t next_available;
  uint16_t next_used;
};

}  // namespace tsvmm
