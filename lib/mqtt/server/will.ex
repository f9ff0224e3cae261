defmodule MQTT.Server.Will do
  @moduledoc false
  # A will that the library publishes, by calling handle_publish/4 with it.
  #
  # MQTT 5.0 has it wait for the Will Delay Interval, or for the end of the session if that comes first,
  # and forgotten when the client comes back to its session before [MQTT-3.1.3-9]. That is a process
  # of its own, because the connection's ends: `MQTT.Server.Will.Guard` starts it.

  alias MQTT.{Native, Session}
  alias MQTT.Server.Will.Guard

  @enforce_keys [:topic, :message, :opts, :delay, :owner]
  defstruct @enforce_keys

  # delay: seconds
  # owner: with its end a will that waits is forgotten
  @type t :: %__MODULE__{
          topic: String.t(),
          message: binary,
          opts: map,
          delay: non_neg_integer,
          owner: pid | nil
        }

  @supervisor __MODULE__.Supervisor

  # How many wills may wait. Further ones do not.
  @max_waiting 10_000

  # The longest that a process can wait in milliseconds.
  @longest 0xFFFF_FFFF

  @doc "The process that starts those of wills."
  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_) do
    Supervisor.child_spec({Task.Supervisor, name: @supervisor, max_children: @max_waiting}, [])
  end

  @doc "The will of `params.last_will`, as an action of `init/2` says, if one does; none for none."
  @spec new(nil | :auto | {:auto, pid}, map | nil) :: t | nil
  def new(nil, _last_will), do: nil
  def new(_auto, nil), do: nil
  def new(:auto, last_will), do: build(last_will, nil)
  def new({:auto, owner}, last_will), do: build(last_will, owner)

  defp build(last_will, owner) do
    {delay, properties} = Map.pop(last_will[:properties] || %{}, :will_delay_interval, 0)
    opts = %{qos: last_will.qos, retain: last_will.retain, dup: false, will: true}

    %__MODULE__{
      topic: last_will.topic,
      message: last_will.message,
      opts: if(last_will[:properties], do: Map.put(opts, :properties, properties), else: opts),
      delay: delay,
      owner: owner
    }
  end

  @doc """
  Publishes the will of the connection of the calling process, which ends: now, or, if it has to wait, when the process has
  ended. Gives the state that the callback left if it was called now.
  """
  @spec publish(t, module, state) :: state when state: term
  def publish(will, module, state) do
    case due(will, Session.current(), self()) do
      :never ->
        Guard.leave()
        state

      :now ->
        # Not before: the callback may take long, and the process be killed meanwhile.
        try do
          publish_now(will, module, state)
        after
          Guard.leave()
        end

      _seconds ->
        # Again: the guard may be a younger one than the connection.
        Guard.watch(will, module, state)
        state
    end
  end

  @doc "The same for a connection that has ended, in a process that may wait."
  @spec publish_for(pid, t, Session.t() | nil, module, term) :: term
  def publish_for(connection, will, session, module, state) do
    if session, do: Session.put_current(session)
    owner = will.owner && Process.monitor(will.owner)

    forgotten? =
      case due(will, session, connection) do
        :never -> true
        :now -> ended?(owner)
        seconds -> forgotten?(seconds * 1_000, owner)
      end

    if forgotten?, do: state, else: publish_now(will, module, state)
  end

  # If it has to wait, this process is told of the next connection.
  defp due(_will, nil, _connection), do: :now

  defp due(will, session, connection) do
    case Native.session_await(session, connection) do
      {:session_taken_over, false} when will.delay > 0 -> :never
      {:session_taken_over, _clean} -> :now
      :ok -> with 0 <- min(will.delay, Session.info(session).expiry_interval), do: :now
    end
  end

  defp publish_now(will, module, state) do
    case module.handle_publish(will.topic, will.message, will.opts, state) do
      {:stop, _reason} -> state
      {:error, _reason, state} -> state
      {:error, _reason, state, _actions} -> state
      result -> elem(result, 1)
    end
  end

  @doc "Runs a function in a process of its own, if there may be one more."
  @spec start((() -> term)) :: {:ok, pid} | {:error, :max_children}
  def start(function), do: Task.Supervisor.start_child(@supervisor, function)

  defp ended?(owner) do
    receive do
      {:DOWN, ^owner, _, _, _} -> true
    after
      0 -> false
    end
  end

  # Whether the client comes back to its session in time, or the owner ends.
  defp forgotten?(left, owner) do
    now = min(left, @longest)

    receive do
      {:"$mqtt", {:session_taken_over, clean}} -> not clean
      {:DOWN, ^owner, _, _, _} -> true
    after
      now -> left > now and forgotten?(left - now, owner)
    end
  end
end
