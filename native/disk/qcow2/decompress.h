// Compressed clusters of a qcow2 file.
#pragma once

#include <cstddef>
#include <span>

#include "disk/qcow2/header.h"

namespace tsvmm::qcow2 {

// Fills all of `cluster`; what comes behind the compressed data is ignored. False where it is none, or too short.
bool decompress(Compression compression, std::span<const std::byte> data, std::span<std::byte> cluster);

}  // namespace tsvmm::qcow2
