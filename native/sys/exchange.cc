#include "sys/exchange.h"

#include <fcntl.h>

#include <cstdio>

namespace tsvmm {

Result<> exchange_names(const std::string& one, const std::string& other) {
  if (renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) != 0) return last_failure("renameat2");
  return Unit{};
}

}  // namespace tsvmm
