// Two names that swap what they stand for in one step.
#pragma once

#include <string>

#include "sys/result.h"

namespace tsvmm {

// renameat2(2) with RENAME_EXCHANGE: whoever looks sees both as before or both as after. ENOENT where there is nothing
// at one of them, EINVAL where the file system cannot.
Result<> exchange_names(const std::string& one, const std::string& other);

}  // namespace tsvmm
