// Checks what JavaScript passes in. Each reader throws a TypeError or RangeError that names the argument and returns
// nothing then; the caller returns at once.
#pragma once

#include <napi.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sys/result.h"

namespace tsvmm {

// Doubles hold whole numbers exactly up to here.
inline constexpr double kMaximumSafeInteger = 9007199254740991.0;

std::optional<uint64_t> read_uint(Napi::Value value, const char* name, uint64_t maximum = UINT64_MAX);
std::optional<std::string> read_string(Napi::Value value, const char* name);
std::optional<std::span<uint8_t>> read_bytes(Napi::Value value, const char* name);

// A typed array whose bytes are whole words, copied.
template <typename Word>
std::optional<std::vector<Word>> read_words(Napi::Value value, const char* name) {
  const auto bytes = read_bytes(value, name);
  if (!bytes) return {};
  std::vector<Word> words(bytes->size() / sizeof(Word));
  if (!words.empty()) std::memcpy(words.data(), bytes->data(), words.size() * sizeof(Word));
  return words;
}

// Properties of an option object; `fallback` where the property is undefined.
std::optional<uint64_t> read_uint_property(Napi::Object object, const char* name, std::optional<uint64_t> fallback);
bool read_flag_property(Napi::Object object, const char* name, bool fallback);

Napi::Value copy_bytes(Napi::Env env, std::span<const uint8_t> bytes);
Napi::Value copy_words(Napi::Env env, std::span<const uint64_t> words);

// Throws an Error with code, errno and syscall, as Node does for its own failed system calls.
void throw_failure(Napi::Env env, const Failure& failure);
// `place` goes before the message as it is.
Napi::Error make_failure(Napi::Env env, const Failure& failure, const std::string& place = {});

}  // namespace tsvmm
