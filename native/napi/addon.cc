// What JavaScript sees; src/native/addon.ts is the typed list.
#include <napi.h>

#include "napi/addon_data.h"
#include "napi/connection_bindings.h"
#include "napi/descriptor_bindings.h"
#include "napi/event_fd_binding.h"
#include "napi/exchange_binding.h"
#include "napi/image_writer_binding.h"
#include "napi/kvm_binding.h"
#include "napi/memory_binding.h"
#include "napi/memory_image_binding.h"
#include "napi/page_server_binding.h"
#include "napi/pty_binding.h"
#include "napi/transfer_bindings.h"
#include "napi/vcpu_binding.h"
#include "napi/virtio_bindings.h"
#include "napi/vm_binding.h"
#include "napi/window_binding.h"

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new tsvmm::AddonData());
  tsvmm::EventFdBinding::define(env, exports);
  tsvmm::MappingBinding::define(env, exports);
  tsvmm::GuestMemoryBinding::define(env, exports);
  tsvmm::ImageWriterBinding::define(env, exports);
  tsvmm::MemoryImageBinding::define(env, exports);
  tsvmm::PageServerBinding::define(env, exports);
  tsvmm::DoorkeeperBinding::define(env, exports);
  tsvmm::DialBinding::define(env, exports);
  tsvmm::MemorySenderBinding::define(env, exports);
  tsvmm::MemoryReceiverBinding::define(env, exports);
  tsvmm::LateMemoryBinding::define(env, exports);
  tsvmm::KvmBinding::define(env, exports);
  tsvmm::VmBinding::define(env);
  tsvmm::VcpuBinding::define(env);
  tsvmm::WindowBinding::define(env);
  tsvmm::define_virtio(env, exports);
  tsvmm::define_exchange(env, exports);
  tsvmm::define_pty(env, exports);
  tsvmm::DescriptorSocketBinding::define(env, exports);
  tsvmm::DescriptorListenerBinding::define(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(tsvmm, initialize)
