defmodule MQTT.Broker.Context do
  @moduledoc false
  # What all connections of a broker have in common, by the broker's name. Its process takes it back when the broker has ended.

  use GenServer

  alias MQTT.{Broker, Router}
  alias MQTT.Broker.Handler

  @enforce_keys [
    :name,
    :router,
    :clients,
    :sessions,
    :processes,
    :retained,
    :hooks,
    :anonymous,
    :passwords,
    :acl,
    :files,
    :connack,
    :session,
    :connection,
    :max_sessions,
    :max_session_expiry_interval,
    :connected,
    :since
  ]
  defstruct @enforce_keys

  # clients: the table of MQTT.Broker.Sessions, which is the process `sessions`
  # processes: a table with others of the broker's processes
  # retained: the table of MQTT.Broker.Connection.Retained
  # files: the paths of what `passwords` and `acl` are from
  # connection: options of all connections
  # connected: the connections that are there, which that process counts
  # since: the second of the monotonic time at which the broker began

  @type t :: %__MODULE__{
          name: atom,
          router: Router.t(),
          clients: :ets.tid(),
          sessions: pid,
          processes: :ets.tid(),
          retained: :ets.tid(),
          hooks: Handler.hooks(),
          anonymous: boolean | :loopback,
          passwords: Broker.Passwords.t() | nil,
          acl: Broker.ACL.t() | nil,
          files: {Path.t() | nil, Path.t() | nil},
          connack: map,
          session: keyword,
          connection: keyword,
          max_sessions: pos_integer,
          max_session_expiry_interval: pos_integer | :infinity,
          connected: :counters.counters_ref(),
          since: integer
        }

  def start_link(name), do: GenServer.start_link(__MODULE__, name)

  @impl true
  def init(name) do
    Process.flag(:trap_exit, true)
    {:ok, name}
  end

  @impl true
  def terminate(_reason, name), do: :persistent_term.erase({__MODULE__, name})

  @spec put(t) :: :ok
  def put(context), do: :persistent_term.put({__MODULE__, context.name}, context)

  @doc "None if there is no such broker, or no longer."
  @spec get(atom) :: t | nil
  def get(name), do: :persistent_term.get({__MODULE__, name}, nil)

  @doc "Exits the caller, as a call to a process that does not run, if there is no such broker."
  @spec get!(atom) :: t
  def get!(name) do
    get(name) || exit({:noproc, {MQTT.Broker, name}})
  end

  @doc "Has the calling process found by a name."
  @spec put_process(t, atom) :: true
  def put_process(context, name), do: :ets.insert(context.processes, {name, self()})

  @doc "The process of that name. Exits the caller if it does not run, as while it is started again."
  @spec process!(t, atom) :: pid
  def process!(context, name) do
    case :ets.lookup(context.processes, name) do
      [{_, pid}] -> pid
      [] -> exit({:noproc, {MQTT.Broker, context.name}})
    end
  end
end
