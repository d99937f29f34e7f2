// A pseudo terminal: this process is at its master, a client opens the other end by path.
#pragma once

#include <string>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// Plain data, owned by one thread.
struct Pty {
  UniqueFd master;  // non-blocking
  // In raw mode, which stays. As long as somebody has it open, reads of the master do not fail while no client is
  // there.
  UniqueFd slave;
  std::string path;  // of the slave

  // Any thread.
  static Result<Pty> open();
};

}  // namespace tsvmm
