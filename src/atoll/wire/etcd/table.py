"""Every message, enum and method of etcd 3.4's gRPC API, as one text.

One rule: this text is the only place that knows a field number. ``messages.py`` makes classes of it and
``services.py`` makes methods of it; a test compares it, field by field, with the descriptors inside Debian's
etcd binary. Source: etcd 3.4 API reference (packages mvccpb, authpb, etcdserverpb, v3lockpb, v3electionpb).

How to read it: ``package`` begins a package; ``enum Owner.Name VALUE=number ...``; ``rpc Service.Method Request
Response`` with ``stream`` before the side that streams; any other line is a message, its fields written
``name:type=number``, ``*`` after a repeated type, ``oneof|`` before a member of a oneof. An indented line
continues the one above.
"""

TABLE = """\
package mvccpb
KeyValue key:bytes=1 create_revision:int64=2 mod_revision:int64=3 version:int64=4 value:bytes=5
    lease:int64=6
enum Event.EventType PUT=0 DELETE=1
Event type:EventType=1 kv:KeyValue=2 prev_kv:KeyValue=3

package authpb
UserAddOptions no_password:bool=1
User name:bytes=1 password:bytes=2 roles:string*=3 options:UserAddOptions=4
enum Permission.Type READ=0 WRITE=1 READWRITE=2
Permission permType:Type=1 key:bytes=2 range_end:bytes=3
Role name:bytes=1 keyPermission:Permission*=2

package etcdserverpb
enum AlarmType NONE=0 NOSPACE=1 CORRUPT=2
ResponseHeader cluster_id:uint64=1 member_id:uint64=2 revision:int64=3 raft_term:uint64=4
enum RangeRequest.SortOrder NONE=0 ASCEND=1 DESCEND=2
enum RangeRequest.SortTarget KEY=0 VERSION=1 CREATE=2 MOD=3 VALUE=4
RangeRequest key:bytes=1 range_end:bytes=2 limit:int64=3 revision:int64=4 sort_order:SortOrder=5
    sort_target:SortTarget=6 serializable:bool=7 keys_only:bool=8 count_only:bool=9
    min_mod_revision:int64=10 max_mod_revision:int64=11 min_create_revision:int64=12
    max_create_revision:int64=13
RangeResponse header:ResponseHeader=1 kvs:KeyValue*=2 more:bool=3 count:int64=4
PutRequest key:bytes=1 value:bytes=2 lease:int64=3 prev_kv:bool=4 ignore_value:bool=5
    ignore_lease:bool=6
PutResponse header:ResponseHeader=1 prev_kv:KeyValue=2
DeleteRangeRequest key:bytes=1 range_end:bytes=2 prev_kv:bool=3
DeleteRangeResponse header:ResponseHeader=1 deleted:int64=2 prev_kvs:KeyValue*=3
RequestOp request|request_range:RangeRequest=1 request|request_put:PutRequest=2
    request|request_delete_range:DeleteRangeRequest=3 request|request_txn:TxnRequest=4
ResponseOp response|response_range:RangeResponse=1 response|response_put:PutResponse=2
    response|response_delete_range:DeleteRangeResponse=3 response|response_txn:TxnResponse=4
enum Compare.CompareResult EQUAL=0 GREATER=1 LESS=2 NOT_EQUAL=3
enum Compare.CompareTarget VERSION=0 CREATE=1 MOD=2 VALUE=3 LEASE=4
Compare result:CompareResult=1 target:CompareTarget=2 key:bytes=3 target_union|version:int64=4
    target_union|create_revision:int64=5 target_union|mod_revision:int64=6 target_union|value:bytes=7
    target_union|lease:int64=8 range_end:bytes=64
TxnRequest compare:Compare*=1 success:RequestOp*=2 failure:RequestOp*=3
TxnResponse header:ResponseHeader=1 succeeded:bool=2 responses:ResponseOp*=3
CompactionRequest revision:int64=1 physical:bool=2
CompactionResponse header:ResponseHeader=1
HashRequest
HashKVRequest revision:int64=1
HashKVResponse header:ResponseHeader=1 hash:uint32=2 compact_revision:int64=3
HashResponse header:ResponseHeader=1 hash:uint32=2
SnapshotRequest
SnapshotResponse header:ResponseHeader=1 remaining_bytes:uint64=2 blob:bytes=3
WatchRequest request_union|create_request:WatchCreateRequest=1
    request_union|cancel_request:WatchCancelRequest=2
    request_union|progress_request:WatchProgressRequest=3
enum WatchCreateRequest.FilterType NOPUT=0 NODELETE=1
WatchCreateRequest key:bytes=1 range_end:bytes=2 start_revision:int64=3 progress_notify:bool=4
    filters:FilterType*=5 prev_kv:bool=6 watch_id:int64=7 fragment:bool=8
WatchCancelRequest watch_id:int64=1
WatchProgressRequest
WatchResponse header:ResponseHeader=1 watch_id:int64=2 created:bool=3 canceled:bool=4
    compact_revision:int64=5 cancel_reason:string=6 fragment:bool=7 events:Event*=11
LeaseGrantRequest TTL:int64=1 ID:int64=2
LeaseGrantResponse header:ResponseHeader=1 ID:int64=2 TTL:int64=3 error:string=4
LeaseRevokeRequest ID:int64=1
LeaseRevokeResponse header:ResponseHeader=1
LeaseCheckpoint ID:int64=1 remaining_TTL:int64=2
LeaseCheckpointRequest checkpoints:LeaseCheckpoint*=1
LeaseCheckpointResponse header:ResponseHeader=1
LeaseKeepAliveRequest ID:int64=1
LeaseKeepAliveResponse header:ResponseHeader=1 ID:int64=2 TTL:int64=3
LeaseTimeToLiveRequest ID:int64=1 keys:bool=2
LeaseTimeToLiveResponse header:ResponseHeader=1 ID:int64=2 TTL:int64=3 grantedTTL:int64=4
    keys:bytes*=5
LeaseLeasesRequest
LeaseStatus ID:int64=1
LeaseLeasesResponse header:ResponseHeader=1 leases:LeaseStatus*=2
Member ID:uint64=1 name:string=2 peerURLs:string*=3 clientURLs:string*=4 isLearner:bool=5
MemberAddRequest peerURLs:string*=1 isLearner:bool=2
MemberAddResponse header:ResponseHeader=1 member:Member=2 members:Member*=3
MemberRemoveRequest ID:uint64=1
MemberRemoveResponse header:ResponseHeader=1 members:Member*=2
MemberUpdateRequest ID:uint64=1 peerURLs:string*=2
MemberUpdateResponse header:ResponseHeader=1 members:Member*=2
MemberListRequest
MemberListResponse header:ResponseHeader=1 members:Member*=2
MemberPromoteRequest ID:uint64=1
MemberPromoteResponse header:ResponseHeader=1 members:Member*=2
DefragmentRequest
DefragmentResponse header:ResponseHeader=1
MoveLeaderRequest targetID:uint64=1
MoveLeaderResponse header:ResponseHeader=1
enum AlarmRequest.AlarmAction GET=0 ACTIVATE=1 DEACTIVATE=2
AlarmRequest action:AlarmAction=1 memberID:uint64=2 alarm:AlarmType=3
AlarmMember memberID:uint64=1 alarm:AlarmType=2
AlarmResponse header:ResponseHeader=1 alarms:AlarmMember*=2
StatusRequest
StatusResponse header:ResponseHeader=1 version:string=2 dbSize:int64=3 leader:uint64=4
    raftIndex:uint64=5 raftTerm:uint64=6 raftAppliedIndex:uint64=7 errors:string*=8 dbSizeInUse:int64=9
    isLearner:bool=10
AuthEnableRequest
AuthDisableRequest
AuthenticateRequest name:string=1 password:string=2
AuthUserAddRequest name:string=1 password:string=2 options:UserAddOptions=3
AuthUserGetRequest name:string=1
AuthUserDeleteRequest name:string=1
AuthUserChangePasswordRequest name:string=1 password:string=2
AuthUserGrantRoleRequest user:string=1 role:string=2
AuthUserRevokeRoleRequest name:string=1 role:string=2
AuthRoleAddRequest name:string=1
AuthRoleGetRequest role:string=1
AuthUserListRequest
AuthRoleListRequest
AuthRoleDeleteRequest role:string=1
AuthRoleGrantPermissionRequest name:string=1 perm:Permission=2
AuthRoleRevokePermissionRequest role:string=1 key:bytes=2 range_end:bytes=3
AuthEnableResponse header:ResponseHeader=1
AuthDisableResponse header:ResponseHeader=1
AuthenticateResponse header:ResponseHeader=1 token:string=2
AuthUserAddResponse header:ResponseHeader=1
AuthUserGetResponse header:ResponseHeader=1 roles:string*=2
AuthUserDeleteResponse header:ResponseHeader=1
AuthUserChangePasswordResponse header:ResponseHeader=1
AuthUserGrantRoleResponse header:ResponseHeader=1
AuthUserRevokeRoleResponse header:ResponseHeader=1
AuthRoleAddResponse header:ResponseHeader=1
AuthRoleGetResponse header:ResponseHeader=1 perm:Permission*=2
AuthRoleListResponse header:ResponseHeader=1 roles:string*=2
AuthUserListResponse header:ResponseHeader=1 users:string*=2
AuthRoleDeleteResponse header:ResponseHeader=1
AuthRoleGrantPermissionResponse header:ResponseHeader=1
AuthRoleRevokePermissionResponse header:ResponseHeader=1
rpc KV.Range RangeRequest RangeResponse
rpc KV.Put PutRequest PutResponse
rpc KV.DeleteRange DeleteRangeRequest DeleteRangeResponse
rpc KV.Txn TxnRequest TxnResponse
rpc KV.Compact CompactionRequest CompactionResponse
rpc Watch.Watch stream WatchRequest stream WatchResponse
rpc Lease.LeaseGrant LeaseGrantRequest LeaseGrantResponse
rpc Lease.LeaseRevoke LeaseRevokeRequest LeaseRevokeResponse
rpc Lease.LeaseKeepAlive stream LeaseKeepAliveRequest stream LeaseKeepAliveResponse
rpc Lease.LeaseTimeToLive LeaseTimeToLiveRequest LeaseTimeToLiveResponse
rpc Lease.LeaseLeases LeaseLeasesRequest LeaseLeasesResponse
rpc Cluster.MemberAdd MemberAddRequest MemberAddResponse
rpc Cluster.MemberRemove MemberRemoveRequest MemberRemoveResponse
rpc Cluster.MemberUpdate MemberUpdateRequest MemberUpdateResponse
rpc Cluster.MemberList MemberListRequest MemberListResponse
rpc Cluster.MemberPromote MemberPromoteRequest MemberPromoteResponse
rpc Maintenance.Alarm AlarmRequest AlarmResponse
rpc Maintenance.Status StatusRequest StatusResponse
rpc Maintenance.Defragment DefragmentRequest DefragmentResponse
rpc Maintenance.Hash HashRequest HashResponse
rpc Maintenance.HashKV HashKVRequest HashKVResponse
rpc Maintenance.Snapshot SnapshotRequest stream SnapshotResponse
rpc Maintenance.MoveLeader MoveLeaderRequest MoveLeaderResponse
rpc Auth.AuthEnable AuthEnableRequest AuthEnableResponse
rpc Auth.AuthDisable AuthDisableRequest AuthDisableResponse
rpc Auth.Authenticate AuthenticateRequest AuthenticateResponse
rpc Auth.UserAdd AuthUserAddRequest AuthUserAddResponse
rpc Auth.UserGet AuthUserGetRequest AuthUserGetResponse
rpc Auth.UserList AuthUserListRequest AuthUserListResponse
rpc Auth.UserDelete AuthUserDeleteRequest AuthUserDeleteResponse
rpc Auth.UserChangePassword AuthUserChangePasswordRequest AuthUserChangePasswordResponse
rpc Auth.UserGrantRole AuthUserGrantRoleRequest AuthUserGrantRoleResponse
rpc Auth.UserRevokeRole AuthUserRevokeRoleRequest AuthUserRevokeRoleResponse
rpc Auth.RoleAdd AuthRoleAddRequest AuthRoleAddResponse
rpc Auth.RoleGet AuthRoleGetRequest AuthRoleGetResponse
rpc Auth.RoleList AuthRoleListRequest AuthRoleListResponse
rpc Auth.RoleDelete AuthRoleDeleteRequest AuthRoleDeleteResponse
rpc Auth.RoleGrantPermission AuthRoleGrantPermissionRequest AuthRoleGrantPermissionResponse
rpc Auth.RoleRevokePermission AuthRoleRevokePermissionRequest AuthRoleRevokePermissionResponse

package v3lockpb
LockRequest name:bytes=1 lease:int64=2
LockResponse header:ResponseHeader=1 key:bytes=2
UnlockRequest key:bytes=1
UnlockResponse header:ResponseHeader=1
rpc Lock.Lock LockRequest LockResponse
rpc Lock.Unlock UnlockRequest UnlockResponse

package v3electionpb
CampaignRequest name:bytes=1 lease:int64=2 value:bytes=3
CampaignResponse header:ResponseHeader=1 leader:LeaderKey=2
LeaderKey name:bytes=1 key:bytes=2 rev:int64=3 lease:int64=4
LeaderRequest name:bytes=1
LeaderResponse header:ResponseHeader=1 kv:KeyValue=2
ResignRequest leader:LeaderKey=1
ResignResponse header:ResponseHeader=1
ProclaimRequest leader:LeaderKey=1 value:bytes=2
ProclaimResponse header:ResponseHeader=1
rpc Election.Campaign CampaignRequest CampaignResponse
rpc Election.Proclaim ProclaimRequest ProclaimResponse
rpc Election.Leader LeaderRequest LeaderResponse
rpc Election.Observe LeaderRequest stream LeaderResponse
rpc Election.Resign ResignRequest ResignResponse
"""
