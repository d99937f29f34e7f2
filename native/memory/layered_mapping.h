// Guest RAM that begins as the private copy of a memory image: nothing is read before the guest touches it.
#pragma once

#include <cstdint>
#include <memory>

#include "memory/image_chain.h"
#include "memory/mapping.h"

namespace tsvmm {

// How many runs of pages of newer layers may still be mapped over the oldest; each costs up to two of the 65,530
// mappings that a process has (vm.max_map_count). What is beyond is copied.
struct MappingBudget {
  uint64_t runs = 15'000;
};

// Maps pages [first_page, first_page + options.size / 4096) of the chain. Only private anonymous memory of normal pages
// (EINVAL), only layers of the image form (EINVAL), only where every page is in a layer (EBADMSG). What is mapped is
// not checked against its checksum; verify_image() does that. While the mapping lives nobody may write the files or cut
// them (an access then kills the process).
Result<std::shared_ptr<Mapping>> map_layers(const ImageChain& chain, uint64_t first_page, const MappingOptions& options,
                                            MappingBudget& budget);

}  // namespace tsvmm
