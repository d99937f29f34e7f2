//! Takes a socket, the path of a machine's configuration as JSON, a disk to add and a directory for a snapshot; prints each step
//! and ends with 0 where every answer was what a client of Cloud Hypervisor expects.

use std::error::Error;
use std::time::Duration;

use cloud_hypervisor_client::apis::{DefaultApi, Error as ApiError};
use cloud_hypervisor_client::models::{
    DiskConfig, NetConfig, RestoreConfig, VmConfig, VmRemoveDevice, VmSnapshotConfig, VmState,
};
use cloud_hypervisor_client::socket_based_api_client;

type Outcome = Result<(), Box<dyn Error>>;

async fn expect_state(client: &impl DefaultApi, expected: VmState) -> Outcome {
    let state = client.vm_info_get().await?.state;
    if state != expected {
        return Err(format!("the machine is {state}, not {expected}").into());
    }
    println!("{state}");
    Ok(())
}

/// A refusal has this status and a body that is an array of reasons.
fn expect_refusal<T>(answer: Result<T, ApiError>, status: u16) -> Outcome {
    match answer {
        Err(ApiError::Api(error))
            if error.code.as_u16() == status && error.body.starts_with("[\"") =>
        {
            Ok(())
        }
        Err(error) => Err(format!("refused with {error:?}, not {status}").into()),
        Ok(_) => Err("not refused".into()),
    }
}

/// A guest that boots still may not have heard: it is asked until the device is gone.
async fn remove(client: &impl DefaultApi, id: &str) -> Outcome {
    let request = VmRemoveDevice {
        id: Some(id.into()),
    };
    while client.vm_remove_device_put(request.clone()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    expect_refusal(client.vm_remove_device_put(request).await, 404)
}

async fn change_devices(client: &impl DefaultApi, path: String) -> Outcome {
    let disk = DiskConfig {
        path: Some(path),
        id: Some("extra".into()),
        ..Default::default()
    };
    let place = client.vm_add_disk_put(disk.clone()).await?;
    println!("{} at {}", place.id, place.bdf);
    expect_refusal(client.vm_add_disk_put(disk).await, 409)?;
    let card = NetConfig {
        tap: Some("client0".into()),
        id: Some("card".into()),
        ..Default::default()
    };
    let place = client.vm_add_net_put(card).await?;
    println!("{} at {}", place.id, place.bdf);
    remove(client, "card").await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(config), Some(disk), Some(directory)) = (
        arguments.next(),
        arguments.next(),
        arguments.next(),
        arguments.next(),
    ) else {
        return Err("usage: rust-client SOCKET CONFIG DISK DIRECTORY".into());
    };
    let config: VmConfig = serde_json::from_str(&std::fs::read_to_string(config)?)?;
    let client = socket_based_api_client(&socket);

    let pong = client.vmm_ping_get().await?;
    println!(
        "{} {}",
        pong.version,
        pong.build_version.unwrap_or_default()
    );
    expect_refusal(client.vm_info_get().await, 404)?;
    expect_refusal(client.boot_vm().await, 404)?;

    client.create_vm(config.clone()).await?;
    expect_state(&client, VmState::Created).await?;
    expect_refusal(client.create_vm(config.clone()).await, 500)?;
    client.boot_vm().await?;
    expect_state(&client, VmState::Running).await?;
    let info = client.vm_info_get().await?;
    let place = info
        .device_tree
        .unwrap_or_default()
        .remove("_virtio-pci-_disk0")
        .and_then(|node| node.pci_bdf);
    println!("disk at {}", place.ok_or("the disk has no address")?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    if client.vm_counters_get().await?.is_empty() {
        return Err("no counters".into());
    }
    change_devices(&client, disk).await?;
    client.pause_vm().await?;
    expect_state(&client, VmState::Paused).await?;
    expect_refusal(client.pause_vm().await, 500)?;
    let snapshot = format!("file://{directory}");
    client
        .vm_snapshot_put(VmSnapshotConfig {
            destination_url: Some(snapshot.clone()),
        })
        .await?;
    client.resume_vm().await?;
    expect_state(&client, VmState::Running).await?;
    client.power_button_vm().await?;
    client.vmm_nmi_put().await?;
    client.reboot_vm().await?;
    expect_state(&client, VmState::Running).await?;
    client.shutdown_vm().await?;
    expect_state(&client, VmState::Created).await?;
    client.boot_vm().await?;
    client.delete_vm().await?;
    expect_refusal(client.vm_info_get().await, 404)?;
    client.vm_restore_put(RestoreConfig::new(snapshot)).await?;
    expect_state(&client, VmState::Paused).await?;
    client.resume_vm().await?;
    expect_state(&client, VmState::Running).await?;
    client.shutdown_vmm().await?;
    println!("done");
    Ok(())
}
