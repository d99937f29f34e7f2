#include "virtio/chain.h"

namespace tsvmm {

void Chain::clear(uint16_t new_head) {
  head = new_head;
  readable_pieces = 0;
  readable_bytes = 0;
  writable_bytes = 0;
  pieces.clear();
  ranges.clear();
}

}  // namespace tsvmm
