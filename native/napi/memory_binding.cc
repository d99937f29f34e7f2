#include "napi/memory_binding.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

constexpr uint64_t kMaximumCopy = 1ull << 30;
constexpr uintptr_t kPage = 4096;
// The address space is locked for so much at a time; what maps or unmaps memory meanwhile, V8 above all, waits for it.
constexpr size_t kReadChunk = 256ul << 10;
constexpr Failure kNotRam{EFAULT, "access guest memory"};

bool read_mapping_options(Napi::Object object, MappingOptions& options) {
  const auto size = read_uint_property(object, "sizeBytes", {});
  if (!size) return false;
  const auto backing = read_string(object.Get("backing"), "backing");
  if (!backing) return false;
  const auto offset = read_uint_property(object, "fileOffset", 0);
  if (!offset) return false;
  const auto huge_page = read_uint_property(object, "hugePageBytes", 0);
  if (!huge_page) return false;
  if (*backing == "file") {
    const auto path = read_string(object.Get("path"), "path");
    if (!path) return false;
    options.path = *path;
    options.backing = MappingOptions::Backing::kFile;
  } else if (*backing == "memfd") {
    options.backing = MappingOptions::Backing::kMemfd;
    if (const auto given = object.Get("memfd"); !given.IsUndefined()) {
      const auto memfd = read_uint(given, "memfd", INT32_MAX);
      if (!memfd) return false;
      options.memfd = static_cast<int>(*memfd);
    }
  } else if (*backing != "anonymous") {
    Napi::RangeError::New(object.Env(), "backing must be anonymous, memfd or file").ThrowAsJavaScriptException();
    return false;
  }
  if (const auto node = object.Get("hostNumaNode"); !node.IsUndefined()) {
    const auto number = read_uint(node, "hostNumaNode", 4095);
    if (!number) return false;
    options.host_numa_node = static_cast<int>(*number);
  }
  options.size = *size;
  options.file_offset = *offset;
  options.huge_page_size = *huge_page;
  options.shared = read_flag_property(object, "shared", false);
  options.mergeable = read_flag_property(object, "mergeable", false);
  options.prefault = read_flag_property(object, "prefault", false);
  options.thp = read_flag_property(object, "thp", false);
  options.reserve = read_flag_property(object, "reserve", true);
  return true;
}

// Makes the pages of a piece of guest memory present at once instead of one fault a page. Where the kernel cannot
// (before 5.14, or for want of memory) the read that follows does it, or fails.
void populate(std::span<std::byte> piece) {
  const auto begin = reinterpret_cast<uintptr_t>(piece.data()) & ~(kPage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(piece.data()) + piece.size() + kPage - 1) & ~(kPage - 1);
  // SAFETY: guest memory is mapped in whole pages, so the pages that the piece touches belong to it.
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
}

// Reads a file's bytes into one piece of guest memory, so much at a time that the zeroed pages are still in the cache
// when they are written. EIO where the file ends early.
Result<> read_piece(int fd, std::span<std::byte> piece, uint64_t offset) {
  while (!piece.empty()) {
    const auto chunk = piece.first(std::min(piece.size(), kReadChunk));
    populate(chunk);
    const auto count = pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_failure("pread");
    if (count == 0) return Failure{EIO, "read past the end of the file"};
    piece = piece.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Unit{};
}

// On a thread of libuv's, so that the machine can be built meanwhile. The memory stays mapped for it.
class FileLoad final : public Napi::AsyncWorker {
 public:
  struct Source {
    int fd;
    uint64_t offset;
  };

  FileLoad(Napi::Env env, std::shared_ptr<GuestMemory> memory, uint64_t address, uint64_t length, Source source)
      : AsyncWorker(env, "tsvmm-load"),
        deferred_(Napi::Promise::Deferred::New(env)),
        memory_(std::move(memory)),
        map_(memory_->map()),
        address_(address),
        length_(length),
        source_(source) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    if (length_ == 0) return;
    auto position = source_.offset;
    const bool all_ram = map_->for_each(address_, length_, [&](std::span<std::byte> piece) {
      if (read_) read_ = read_piece(source_.fd, piece, position);
      position += piece.size();
    });
    if (!all_ram) read_ = kNotRam;
    // All of it, where the file ended early too.
    memory_->dirty().mark(address_, length_);
  }

  void OnOK() override {
    if (read_) return deferred_.Resolve(Env().Undefined());
    deferred_.Reject(make_failure(Env(), read_.failure()).Value());
  }

 private:
  const Napi::Promise::Deferred deferred_;
  const std::shared_ptr<GuestMemory> memory_;
  const std::shared_ptr<const RamMap> map_;
  const uint64_t address_;
  const uint64_t length_;
  const Source source_;
  Result<> read_ = Unit{};
};

}  // namespace

void MappingBinding::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(
      env, "Mapping",
      {InstanceAccessor<&MappingBinding::size_bytes>("sizeBytes"), InstanceAccessor<&MappingBinding::fd>("fd"),
       InstanceMethod<&MappingBinding::discard>("discard"), InstanceMethod<&MappingBinding::close>("close")});
  addon_data(env).mapping = Napi::Persistent(constructor);
  exports.Set("Mapping", constructor);
}

Napi::Value MappingBinding::wrap(Napi::Env env, std::shared_ptr<Mapping> mapping) {
  return addon_data(env).mapping.New({Napi::External<std::shared_ptr<Mapping>>::New(env, &mapping)});
}

MappingBinding::MappingBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info[0].IsExternal()) {
    // SAFETY: JavaScript gets hold of no such value; this is wrap().
    mapping_ = *info[0].As<Napi::External<std::shared_ptr<Mapping>>>().Data();
    return;
  }
  if (!info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "options must be an object").ThrowAsJavaScriptException();
    return;
  }
  MappingOptions options;
  if (!read_mapping_options(info[0].As<Napi::Object>(), options)) return;
  auto created = Mapping::create(options);
  if (!created) {
    throw_failure(info.Env(), created.failure());
    return;
  }
  mapping_ = std::move(created).value();
}

Napi::Value MappingBinding::size_bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), mapping_ ? static_cast<double>(mapping_->size()) : 0);
}

Napi::Value MappingBinding::fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), mapping_ ? mapping_->fd() : -1);
}

void MappingBinding::discard(const Napi::CallbackInfo& info) {
  if (!mapping_) return throw_closed(info.Env(), "Mapping");
  if (const auto discarded = mapping_->discard(); !discarded) throw_failure(info.Env(), discarded.failure());
}

void MappingBinding::close(const Napi::CallbackInfo&) { mapping_.reset(); }

void GuestMemoryBinding::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(
      env, "GuestMemory",
      {InstanceMethod<&GuestMemoryBinding::add>("add"), InstanceMethod<&GuestMemoryBinding::remove>("remove"),
       InstanceMethod<&GuestMemoryBinding::read>("read"), InstanceMethod<&GuestMemoryBinding::write>("write"),
       InstanceMethod<&GuestMemoryBinding::fill>("fill"), InstanceMethod<&GuestMemoryBinding::load_file>("loadFile"),
       InstanceMethod<&GuestMemoryBinding::mark_dirty>("markDirty"),
       InstanceMethod<&GuestMemoryBinding::close>("close")});
  addon_data(env).guest_memory = Napi::Persistent(constructor);
  exports.Set("GuestMemory", constructor);
}

GuestMemoryBinding::GuestMemoryBinding(const Napi::CallbackInfo& info)
    : ObjectWrap(info), memory_(std::make_shared<GuestMemory>()) {}

void GuestMemoryBinding::add(const Napi::CallbackInfo& info) {
  if (!memory_) return throw_closed(info.Env(), "GuestMemory");
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return;
  auto mapping = read_mapping(info[1], "mapping");
  if (!mapping) return;
  const auto offset = read_uint(info[2], "mappingOffset", mapping->size());
  if (!offset) return;
  const auto size = read_uint(info[3], "sizeBytes");
  if (!size) return;
  auto* host = mapping->host() + *offset;
  if (const auto added = memory_->add({*address, *size, host, std::move(mapping)}); !added) {
    throw_failure(info.Env(), added.failure());
  }
}

void GuestMemoryBinding::remove(const Napi::CallbackInfo& info) {
  if (!memory_) return throw_closed(info.Env(), "GuestMemory");
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return;
  if (const auto removed = memory_->remove(*address); !removed) throw_failure(info.Env(), removed.failure());
}

Napi::Value GuestMemoryBinding::read(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!memory_) return throw_closed(env, "GuestMemory"), env.Undefined();
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return env.Undefined();
  const auto length = read_uint(info[1], "lengthBytes", kMaximumCopy);
  if (!length) return env.Undefined();
  auto copy = Napi::Uint8Array::New(env, *length);
  if (*length == 0) return copy;
  auto* target = copy.Data();
  const bool all_ram = memory_->map()->for_each(*address, *length, [&](std::span<std::byte> piece) {
    std::memcpy(target, piece.data(), piece.size());
    target += piece.size();
  });
  if (!all_ram) return throw_failure(env, kNotRam), env.Undefined();
  return copy;
}

void GuestMemoryBinding::write(const Napi::CallbackInfo& info) {
  if (!memory_) return throw_closed(info.Env(), "GuestMemory");
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return;
  const auto bytes = read_bytes(info[1], "bytes");
  if (!bytes || bytes->empty()) return;
  const auto* source = bytes->data();
  const bool all_ram = memory_->map()->for_each(*address, bytes->size(), [&](std::span<std::byte> piece) {
    std::memcpy(piece.data(), source, piece.size());
    source += piece.size();
  });
  if (!all_ram) return throw_failure(info.Env(), kNotRam);
  memory_->dirty().mark(*address, bytes->size());
}

void GuestMemoryBinding::fill(const Napi::CallbackInfo& info) {
  if (!memory_) return throw_closed(info.Env(), "GuestMemory");
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return;
  const auto value = read_uint(info[1], "value", UINT8_MAX);
  if (!value) return;
  const auto length = read_uint(info[2], "lengthBytes");
  if (!length || *length == 0) return;
  const bool all_ram = memory_->map()->for_each(*address, *length, [&](std::span<std::byte> piece) {
    std::memset(piece.data(), static_cast<int>(*value), piece.size());
  });
  if (!all_ram) return throw_failure(info.Env(), kNotRam);
  memory_->dirty().mark(*address, *length);
}

void GuestMemoryBinding::mark_dirty(const Napi::CallbackInfo& info) {
  if (!memory_) return throw_closed(info.Env(), "GuestMemory");
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return;
  if (const auto length = read_uint(info[1], "lengthBytes")) memory_->dirty().mark(*address, *length);
}

Napi::Value GuestMemoryBinding::load_file(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!memory_) return throw_closed(env, "GuestMemory"), env.Undefined();
  const auto address = read_uint(info[0], "guestAddress");
  if (!address) return env.Undefined();
  const auto fd = read_uint(info[1], "fd", INT32_MAX);
  if (!fd) return env.Undefined();
  const auto offset = read_uint(info[2], "fileOffset");
  if (!offset) return env.Undefined();
  const auto length = read_uint(info[3], "lengthBytes");
  if (!length) return env.Undefined();
  // It deletes itself when it is done.
  auto* load = new FileLoad(env, memory_, *address, *length, {static_cast<int>(*fd), *offset});
  load->Queue();
  return load->promise();
}

void GuestMemoryBinding::close(const Napi::CallbackInfo&) { memory_.reset(); }

std::shared_ptr<Mapping> read_mapping(Napi::Value value, const char* name) {
  const auto* binding = unwrap<MappingBinding>(value, addon_data(value.Env()).mapping, name);
  if (binding == nullptr) return nullptr;
  if (!binding->mapping()) throw_closed(value.Env(), name);
  return binding->mapping();
}

std::shared_ptr<GuestMemory> read_guest_memory(Napi::Value value, const char* name) {
  const auto* binding = unwrap<GuestMemoryBinding>(value, addon_data(value.Env()).guest_memory, name);
  if (binding == nullptr) return nullptr;
  if (!binding->memory()) throw_closed(value.Env(), name);
  return binding->memory();
}

std::optional<PageBitmap> read_page_bitmap(Napi::Value value, const char* name, uint64_t pages) {
  const auto bytes = read_bytes(value, name);
  if (!bytes) return {};
  PageBitmap bitmap(pages);
  if (bytes->size() == (pages + 7) / 8 || bytes->size() == bitmap.words().size_bytes()) {
    std::memcpy(bitmap.words().data(), bytes->data(), bytes->size());
    if (!bitmap.has_bits_beyond_end()) return bitmap;
  }
  Napi::RangeError::New(value.Env(), std::string(name) + " must have one bit for each page")
      .ThrowAsJavaScriptException();
  return {};
}

}  // namespace tsvmm
