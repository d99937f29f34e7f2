#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "memory/guest_memory.h"
#include "memory/mapping.h"
#include "memory/page_bitmap.h"

namespace tsvmm {

class MappingBinding : public Napi::ObjectWrap<MappingBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit MappingBinding(const Napi::CallbackInfo& info);
  // The object of a mapping that native code made.
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Mapping> mapping);
  std::shared_ptr<Mapping> mapping() const { return mapping_; }

 private:
  Napi::Value size_bytes(const Napi::CallbackInfo& info);
  Napi::Value fd(const Napi::CallbackInfo& info);
  void discard(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<Mapping> mapping_;
};

class GuestMemoryBinding : public Napi::ObjectWrap<GuestMemoryBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit GuestMemoryBinding(const Napi::CallbackInfo& info);
  std::shared_ptr<GuestMemory> memory() const { return memory_; }

 private:
  void add(const Napi::CallbackInfo& info);
  void remove(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  void write(const Napi::CallbackInfo& info);
  void fill(const Napi::CallbackInfo& info);
  void mark_dirty(const Napi::CallbackInfo& info);
  Napi::Value load_file(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<GuestMemory> memory_;
};

// Throw and return nullptr where `value` is not an open object of that class.
std::shared_ptr<Mapping> read_mapping(Napi::Value value, const char* name);
std::shared_ptr<GuestMemory> read_guest_memory(Napi::Value value, const char* name);
// One bit a page; whole bytes or whole words, as KVM has its logs. Throws and returns nothing for anything else.
std::optional<PageBitmap> read_page_bitmap(Napi::Value value, const char* name, uint64_t pages);

}  // namespace tsvmm
