target_sources(core PRIVATE memory/crc32c.cc memory/dirty_bitmap.cc memory/guest_memory.cc memory/image_base.cc
  memory/image_chain.cc memory/image_index.cc memory/image_loader.cc memory/image_reader.cc memory/image_space.cc memory/image_writer.cc
  memory/layered_mapping.cc memory/mapping.cc memory/residency.cc memory/span_job.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE memory/crc32c_test.cc memory/dirty_bitmap_test.cc memory/guest_memory_test.cc
    memory/image_base_test.cc memory/image_chain_test.cc memory/image_index_test.cc memory/image_writer_test.cc memory/mapping_test.cc)
endif()
